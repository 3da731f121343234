"""What every corruption must keep to, in 3D and 2D, over the registry."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from imaseg import corruptions, registry
from imaseg.corruptions import LADDER, Corruption
from imaseg.corruptions.calibrate import Setting
from imaseg.data.volume import Volume
from imaseg.errors import InputError
from tests.corruptions.volumes import CT, ct, phantom, slice_of, tissue

DOCS = Path(__file__).resolve().parents[2] / "docs" / "corruptions.md"
EVERY = sorted(Corruption.known())
every = pytest.mark.parametrize("name", EVERY)
CT_ONLY = {name for name in EVERY if not Corruption.known()[name].other}
DOCUMENTED = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| ([^|]+) \|$", DOCS.read_text(), re.MULTILINE))
"""Images in which each corruption occurs, by the table of the documentation."""
WITHIN_VOLUMES = {"slice-thickness", "missing-slices"}


def subject(name, dims="3d"):
    """A case that the corruption occurs in, and its modality."""
    volume, modality = (ct(), CT) if name in CT_ONLY else (phantom(channels=2), ("T1", "T2"))
    return (volume if dims == "3d" else slice_of(volume, flat=dims == "flat")), modality


def ladder(name, volume, modality, **settings):
    return list(Corruption.build(name, **settings).ladder(volume, modality=modality))


def test_the_registry_has_all_that_the_documentation_promises():
    ours = {name for name, kind in Corruption.known().items() if kind.__module__.startswith("imaseg.")}
    assert ours == DOCUMENTED.keys()
    assert len(ours) >= 23
    assert all(kind.title and registry.kebab(kind.__name__) == name for name, kind in Corruption.known().items())


@every
@pytest.mark.parametrize("dims", ["3d", "one slice", "flat"])
def test_severity_strictly_increases_the_change(name, dims):
    volume, modality = subject(name, dims)
    before = volume.image.copy()
    if dims != "3d" and name in WITHIN_VOLUMES:
        with pytest.raises(InputError, match=f"corruption {name} must fit case .*slice"):
            ladder(name, volume, modality)
        return
    found = ladder(name, volume, modality)
    changes = [corrupted.change for corrupted in found]
    assert changes == sorted(changes)
    assert all(low < high for low, high in itertools.pairwise(changes))
    assert changes[0] > 0
    assert np.array_equal(volume.image, before)
    for corrupted in found:
        assert corrupted.volume.image.shape == volume.image.shape
        assert corrupted.volume.image.dtype == np.float32
        assert corrupted.volume.label.shape == volume.label.shape
        assert np.isfinite(corrupted.volume.image).all()
        assert all(isinstance(number, float) for number in corrupted.parameters.values())
    if not Corruption.known()[name].physical:
        reached = [
            (corrupted.change, level) for corrupted, level in zip(found, LADDER, strict=True) if corrupted.reached
        ]
        assert len(reached) >= 3
        for change, level in reached:
            assert change == pytest.approx(level, rel=0.1 if name == "gibbs-ringing" else 0.011)


@every
def test_the_same_seed_case_and_severity_give_the_same_image(name):
    volume, modality = subject(name)
    state = torch.random.get_rng_state()
    one, *_, five = ladder(name, volume, modality)
    alone = Corruption.build(name)(volume, severity=5, modality=modality)
    assert np.array_equal(alone.volume.image, five.volume.image)
    assert alone.parameters == five.parameters
    assert not np.array_equal(one.volume.image, five.volume.image)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was touched"


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"blur", "resolution-loss", "slice-thickness", "gibbs-ringing"}))
def test_another_seed_or_case_gives_another_draw(name, monkeypatch):
    monkeypatch.setattr("imaseg.corruptions.base.calibrate", lambda *_: [Setting(0.5, reached=True)] * 5)
    volume, modality = subject(name)

    def drawn(seed, case):
        one = Volume(f"case_{case}", volume.image, volume.label, volume.affine)
        return Corruption.build(name, seed=seed)(one, severity=3, modality=modality).volume.image

    first, tries = drawn(0, 0), range(1, 20)  # a sign may agree by chance
    assert any(not np.array_equal(first, drawn(0, case)) for case in tries), "the case matters"
    assert any(not np.array_equal(first, drawn(seed, 0)) for seed in tries), "the seed matters"


@every
def test_images_with_nothing_in_them_do_not_crash(name):
    modality = CT if name in CT_ONLY else ("T1", "T2")
    eye, label = np.eye(4), np.zeros((6, 5, 4), np.int64)
    for value in (0.0, 7.0):
        volume = Volume("flat", np.full((2, 6, 5, 4), value, np.float32), label, eye)
        for corrupted in ladder(name, volume, modality):
            assert np.array_equal(corrupted.volume.image, volume.image)
            assert corrupted.change == 0
    noise = np.random.default_rng(0).standard_normal((2, 5, 4, 2)).astype(np.float32)
    thin = Volume("thin", noise, label[:5, :4, :2], np.diag([0.5, 0.5, 9.0, 1.0]))
    if not Corruption.build(name).why_not(thin, modality):
        assert all(np.isfinite(corrupted.volume.image).all() for corrupted in ladder(name, thin, modality))


@pytest.mark.parametrize("name", sorted(set(EVERY) - CT_ONLY))  # HU have one scale
def test_the_scale_of_the_intensities_does_not_matter(name):
    volume, modality = subject(name)
    larger = Volume(volume.id, volume.image * 4096, volume.label, volume.affine)
    for small, large in zip(ladder(name, volume, modality)[::4], ladder(name, larger, modality)[::4], strict=True):
        assert small.change == pytest.approx(large.change, rel=1e-3)
        np.testing.assert_allclose(large.volume.image / 4096, small.volume.image, rtol=1e-3, atol=0.5)


def test_modality_decides_what_occurs():
    for name, kind in Corruption.known().items():
        images = DOCUMENTED[name]
        assert bool(kind().why_not(phantom(channels=2), ("T1", "T2"))) == (images == "CT")
        assert bool(kind().why_not(ct(), CT)) == (images in {"not CT", "several channels"})
    assert corruptions.Motion().why_not(ct()) == "it does not occur in CT", "told by the values where nobody says"
    assert corruptions.MissingChannel().why_not(tissue()) == "it has one channel"


def test_standardised_mr_in_whole_numbers_is_not_taken_for_ct():
    volume = phantom(channels=2)
    low = replace(volume, image=volume.image * 10 - 3141)  # as in the Ljubljana MS data: values down to -3141
    for one in (low, replace(low, image=low.image[:1])):
        assert corruptions.CTKernel().why_not(one) == "it occurs in CT only"
        assert not corruptions.TissueContrast().why_not(one)
    assert not corruptions.CTKernel().why_not(ct())


def test_what_no_scanner_wrote_stays():
    volume = phantom()
    air = volume.image == 0
    for name in ("gaussian-noise", "rician-noise", "ghosting", "intensity-shift", "motion"):
        changed = ladder(name, volume, ())[4].volume.image
        assert (changed[air] == 0).mean() > 0.9
        assert (changed[~air] != volume.image[~air]).mean() > 0.9


def test_an_unknown_severity_is_refused():
    with pytest.raises(InputError, match="severity must be one of 1, 2, 3, 4, 5, got 6"):
        corruptions.Blur()(phantom(), severity=6)


def test_a_new_corruption_is_there_by_being_defined(monkeypatch):
    monkeypatch.setattr(Corruption, "registry", dict(Corruption.registry))

    class Mine(Corruption):
        title = "Mine"

        def _effect(self, scene, rng):
            return corruptions.base.Effect(lambda p: scene.image * (1 + p), 1.0, lambda p: {"gain": 1 + p})

    assert Corruption.build("mine")(tissue(), severity=1).change == pytest.approx(0.05, rel=0.01)
