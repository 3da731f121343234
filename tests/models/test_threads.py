"""The number of threads: measured, kept for a resumed job, and put back afterwards."""

from __future__ import annotations

import pytest
import torch

from imaseg import load_model
from imaseg.models import threads
from imaseg.models.threads import threads_for, usable_cores


@pytest.fixture
def model(tiny_run, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    return load_model(tiny_run)


def _seconds(monkeypatch, by_count):
    seen = []

    def fake(_, image):
        seen.append(tuple(image.shape))
        return by_count[torch.get_num_threads()]

    monkeypatch.setattr(threads, "seconds_per_pass", fake)
    return seen


@pytest.mark.parametrize(("several", "chosen"), [(0.5, 4), (0.89, 4), (0.95, 1), (3.0, 1)])
def test_several_threads_are_taken_where_they_help(model, monkeypatch, several, chosen):
    seen = _seconds(monkeypatch, {4: several, 1: 1.0})
    before = torch.get_num_threads()
    with threads_for(model, torch.zeros(1, 1, 200, 24, 16)) as told:
        assert torch.get_num_threads() == chosen
        assert told.startswith(f"{chosen} thread")
        assert f"takes {several:.2f} times" in told
    assert torch.get_num_threads() == before
    assert seen == [(1, 1, 96, 24, 16)] * 2


def test_a_resumed_job_keeps_its_number_and_the_user_has_the_last_word(model, monkeypatch):
    seen = _seconds(monkeypatch, {4: 0.1, 1: 1.0})
    with threads_for(model, torch.zeros(1, 1, 24, 24, 16), kept=3) as told:
        assert (torch.get_num_threads(), told) == (3, "3 threads, as before.")
    monkeypatch.setattr(threads, "WANTED", 2)
    with threads_for(model, torch.zeros(1, 1, 24, 24, 16), kept=3) as told:
        assert (torch.get_num_threads(), told) == (2, "2 threads, as asked for.")
    assert not seen


def test_the_environment_and_missing_images_leave_the_number_as_it_is(model, monkeypatch):
    seen = _seconds(monkeypatch, {4: 0.1, 1: 1.0})
    before = torch.get_num_threads()
    with threads_for(model, None) as told:
        assert (torch.get_num_threads(), told) == (before, "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with threads_for(model, torch.zeros(1, 1, 24, 24, 16)) as told:
        assert (torch.get_num_threads(), told) == (before, "")
    assert not seen


def test_timing_leaves_model_and_random_numbers_as_they_were(model):
    model.train()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with threads_for(model, torch.zeros(1, 1, 24, 24, 16)):
        assert model.training
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("limit", "cores"), [("200000 100000", 2), ("max 100000", 8), ("50000 100000", 1), (None, 8), ("1600000 100000", 8)]
)
def test_cores_are_those_that_the_container_allows(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores() == cores


def test_training_and_audits_resume_with_the_number_they_began_with(
    model, monkeypatch, prepared_phantom, tiny_config, tmp_path
):
    from imaseg.auditing import audit
    from imaseg.runs import load_config, train

    _seconds(monkeypatch, {4: 0.1, 1: 1.0})
    said = []
    config = load_config(tiny_config, ["epochs=1"])
    run = train(config, prepared_phantom, tmp_path / "run", announce=said.append)
    assert "4 threads: with 4 a pass takes 0.10 times as long as with 1" in said[0]
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: p\nprobes: [{attack: fgsm, eps: [0.1]}]\nverify: false\n")
    audit(run, prepared_phantom, plan, tmp_path / "audit", announce=said.append)
    _seconds(monkeypatch, {4: 2.0, 1: 1.0})
    audit(run, prepared_phantom, plan, tmp_path / "audit", resume=True, announce=said.append)
    assert "4 threads, as before." in said


def test_a_model_that_cannot_be_timed_leaves_the_number_as_it_is(model, monkeypatch):
    for fails in (lambda image: image.detach(), lambda image: image.no_such_thing):
        monkeypatch.setattr(type(model), "forward", lambda _, image, fails=fails: fails(image))
        before = torch.get_num_threads()
        with threads_for(model, torch.zeros(1, 1, 24, 24, 16)) as told:
            assert (torch.get_num_threads(), told) == (before, "")


@pytest.mark.parametrize("kept", [-3, 0, 10**6])
def test_numbers_that_a_process_cannot_take_are_chosen_anew(model, monkeypatch, kept):
    seen = _seconds(monkeypatch, {4: 0.1, 1: 1.0})
    with threads_for(model, torch.zeros(1, 1, 24, 24, 16), kept=kept):
        assert torch.get_num_threads() == 4
    assert len(seen) == 2
