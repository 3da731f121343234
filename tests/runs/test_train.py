"""Training runs: what they leave behind, exact resumption, and inputs that do not fit."""

from __future__ import annotations

import csv
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils._pytree import tree_flatten

from imaseg import InputError, load_model
from imaseg.integrations import monai
from imaseg.runs import load_config, preflight, train
from imaseg.runs.batches import training_loader
from imaseg.runs.job import training_cases
from imaseg.runs.record import EpochRecord, write_rows
from imaseg.training import adversarial_weights
from tests.conftest import IMA_METHOD


def _weights(run):
    return load_file(run / "weights.safetensors")


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_model_metrics_and_tensorboard(prepared_phantom, tiny_config, tmp_path):
    run = train(load_config(tiny_config, [IMA_METHOD]), prepared_phantom, tmp_path / "run")
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [float(row["epoch"]) for row in rows] == [1.0, 2.0]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.01, 0.005])
    assert {"loss", "learning_rate", "monitor_dice", "broken", "mean_margin", "at_ceiling"} <= rows[0].keys()
    card = json.loads((run / "model.json").read_text())
    margins = list(csv.DictReader((run / "margins.csv").open()))
    assert {row["case"] for row in margins} == set(card["train_ids"])
    assert all(0 < float(row["margin"]) <= 0.2 for row in margins)
    assert list((run / "tensorboard").iterdir())
    assert not [path for path in run.rglob(".*") if path.is_file()], "temporary files stay nowhere"


L2 = "perturbation: {name: l2, eps: 0.2, unit: rms}"
METHODS = {
    "standard": "method={name: standard}",
    "ima": IMA_METHOD,
    "ima-warm": f"method={{name: ima, {L2}, steps: 2, bisections: 1, warm: true, fewest_steps: 1}}",
    "free": f"method={{name: free, {L2}, replays: 2, ramp_epochs: 3}}",
    "trades": f"method={{name: trades, {L2}, steps: 2}}",
    "ima-sets": "method={name: ima, steps: 1, perturbation: [{name: l2, eps: 3}, {name: gamma, eps: 0.3}]}",
}


def test_several_sets_leave_a_table_each_and_what_is_wrong_with_margins_is_said_twice(
    prepared_phantom, tiny_config, tmp_path
):
    sets = "[{name: l2, eps: 0.2, unit: rms}, {name: gamma, eps: 0.3}]"
    method = f"method={{name: ima, perturbation: {sets}, steps: 1, criterion: {{name: dice-below, threshold: 1.0}}}}"
    said = []
    config = load_config(tiny_config, ["epochs=12", method])
    run = train(config, prepared_phantom, tmp_path / "run", announce=said.append)
    train_ids = set(json.loads((run / "model.json").read_text())["train_ids"])
    for name in ("l2", "gamma"):
        assert {row["case"] for row in csv.DictReader((run / f"margins_{name}.csv").open())} == train_ids
        assert (run / f"margin_trajectories_{name}.csv").is_file()
        assert f"{name}_mean_margin" in (run / "metrics.csv").read_text()
        mine = [line for line in said if f"margins of {name} are at their floor" in line]
        assert len(mine) in (1, 2)
        assert mine[-1].endswith("the boundary is nearer. Lower `increment`.")
    failed = [line for line in said if "broken without any perturbation" in line]
    assert "100% of the cases" in failed[0]
    assert "Lower the criterion's threshold" in failed[0]
    assert failed[-1].startswith("Epoch 12: ")
    assert len(failed) <= 4


def test_margins_in_the_middle_are_not_remarked_on(prepared_phantom, tiny_config, tmp_path):
    said = []
    never = "criterion: {name: dice-below, threshold: 0.001, absent: ignore}"
    method = f"method={{name: ima, {L2}, increment: 0.05, steps: 1, {never}}}"
    train(load_config(tiny_config, ["epochs=2", method]), prepared_phantom, tmp_path / "run", announce=said.append)
    assert not [line for line in said if line.startswith("Epoch")]
    train(load_config(tiny_config, ["epochs=5", method]), prepared_phantom, tmp_path / "longer", announce=said.append)
    assert [line.partition(": ")[0] for line in said if "100% of the margins of l2 are at the ceiling" in line] == [
        "Epoch 3",
        "Epoch 5",
    ]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_killed_run_goes_on_bit_by_bit(prepared_phantom, tiny_config, tmp_path, killed, method):
    config = load_config(tiny_config, ["epochs=4", method])
    whole = train(config, prepared_phantom, tmp_path / "whole")

    # Three cases in batches of two: the fifth step is the first of the third epoch.
    killed(config, prepared_phantom, tmp_path / "part", lambda state: state.iteration == 5)
    assert not _same(_weights(whole), _weights(tmp_path / "part"))
    part = train(config, prepared_phantom, tmp_path / "part", resume=True)
    assert _same(_weights(whole), _weights(part))
    for name in ("metrics.csv", "margins.csv", "margin_trajectories.csv"):
        if (whole / name).is_file():
            assert (whole / name).read_text() == (part / name).read_text()
    states = [torch.load(run / "checkpoint.pt", weights_only=True) for run in (whole, part)]
    left, right = tree_flatten(states[0]["method"]), tree_flatten(states[1]["method"])
    assert left[1] == right[1]
    assert all(torch.equal(a, b) if torch.is_tensor(a) else a == b for a, b in zip(left[0], right[0], strict=True))
    assert states[0]["schedule"] == states[1]["schedule"]
    moments = [state["optimizer"]["state"] for state in states]
    assert all(torch.equal(moments[0][k]["exp_avg"], moments[1][k]["exp_avg"]) for k in moments[0])


def test_workers_change_nothing(prepared_phantom, tiny_config, tmp_path):
    alone = train(load_config(tiny_config), prepared_phantom, tmp_path / "alone")
    helped = train(load_config(tiny_config, ["workers=1"]), prepared_phantom, tmp_path / "helped")
    assert _same(_weights(alone), _weights(helped))


def test_another_seed_gives_another_model(prepared_phantom, tiny_config, tmp_path):
    first = train(load_config(tiny_config, ["epochs=1"]), prepared_phantom, tmp_path / "a")
    second = train(load_config(tiny_config, ["epochs=1", "seed=1"]), prepared_phantom, tmp_path / "b")
    assert not _same(_weights(first), _weights(second))


def test_init_starts_from_given_weights(prepared_phantom, tiny_config, tiny_run, tmp_path):
    config = load_config(tiny_config, ["epochs=1", "learning_rate=1e-12", "network.dropout=0.0", f"init={tiny_run}"])
    config.network.pop("dropout")
    run = train(config, prepared_phantom, tmp_path / "run")
    given, found = _weights(tiny_run), _weights(run)
    trained = [name for name in given if "running" not in name and "tracked" not in name]
    assert all(torch.allclose(given[name], found[name], atol=1e-6) for name in trained)


def test_init_of_another_architecture_is_refused_before_anything_is_written(
    prepared_phantom, tiny_config, tiny_run, tmp_path
):
    config = load_config(tiny_config, ["network.channels=[8, 16]", f"init={tiny_run}"])
    with pytest.raises(InputError, match="must hold weights of this UNet"):
        train(config, prepared_phantom, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_data_do_not_continue_a_run(raw_phantom, prepared_phantom, tiny_config, tmp_path):
    from imaseg.data.preparation.prepare import prepare
    from imaseg.data.preparation.recipe import Recipe

    prepare(raw_phantom, tmp_path / "other", Recipe(normalise="percentile"))
    config = load_config(tiny_config, ["epochs=1"])
    run = train(config, prepared_phantom, tmp_path / "run")
    with pytest.raises(InputError, match="must be resumed with the data it was started with, got another recipe"):
        train(config, tmp_path / "other", run, resume=True)


def test_a_run_from_before_a_key_of_recipes_existed_goes_on(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["epochs=1"])
    run = train(config, prepared_phantom, tmp_path / "run")
    card = json.loads((run / "model.json").read_text())
    del card["recipe"]["n4"], card["recipe"]["within"]
    (run / "model.json").write_text(json.dumps(card))
    assert train(config, prepared_phantom, run, resume=True) == run


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("split.json", {"train": []}, "must hold at least one training case"),
        ("dataset.json", {"0": "background", "1": "a", "2": "b", "4": "c"}, "without gaps, got \\[0, 1, 2, 4\\]"),
    ],
)
def test_cohorts_that_cannot_be_trained_on_are_refused(prepared_phantom, tiny_config, tmp_path, file, content, text):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    if file == "dataset.json":
        content = json.loads((data / file).read_text()) | {"labels": content}
    (data / file).write_text(json.dumps(content))
    with pytest.raises(InputError, match=text):
        train(load_config(tiny_config), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("loss={name: DiceLoss}", "network, patch and loss must fit together"),
        ("network.strides=2", "network must hold arguments that UNet takes"),
        ("network.pretrained=true", "network must not fetch weights"),
        ("method={name: ima, perturbation: {name: l2, eps: null}}", "arguments of l2 must fit"),
        ("method={name: ima, perturbation: 5}", "perturbation must be a name or a mapping"),
        ("device=mps", "device must be auto, cpu, cuda"),
        ("network.in_channels=2", "network.in_channels must be 1, as the data have it, got 2. Leave it out"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_written(
    prepared_phantom, tiny_config, tmp_path, override, text
):
    with pytest.raises(InputError, match=text):
        train(load_config(tiny_config, [override]), prepared_phantom, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_killed_write_left_behind_is_no_other_content(prepared_phantom, tiny_config, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".99-config.yaml").write_text("network:")
    train(load_config(tiny_config, ["epochs=1"]), prepared_phantom, run)


def test_another_runs_folder_is_not_touched(prepared_phantom, tiny_config, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = (run / "weights.safetensors").read_bytes()
    with pytest.raises(InputError, match="got one with a run in it. Add --resume"):
        train(load_config(tiny_config), prepared_phantom, run)
    with pytest.raises(InputError, match="must be resumed with the settings it was started with"):
        train(load_config(tiny_config), prepared_phantom, run, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="got one with other content"):
        train(load_config(tiny_config), prepared_phantom, tmp_path / "other")
    assert (run / "weights.safetensors").read_bytes() == before


def test_a_run_goes_on_with_other_memory_and_without_what_it_began_from(
    prepared_phantom, tiny_config, tiny_run, tmp_path
):
    first = shutil.copytree(tiny_run, tmp_path / "first")
    over = ["epochs=2", f"init={first}"]
    whole = train(load_config(tiny_config, over), prepared_phantom, tmp_path / "whole")
    (tmp_path / "part").mkdir()
    run = train(load_config(tiny_config, over), prepared_phantom, tmp_path / "part")
    shutil.rmtree(first)
    train(load_config(tiny_config, [*over, "workers=1", "cache=0"]), prepared_phantom, run, resume=True)
    assert _same(_weights(whole), _weights(run))


def test_two_processes_do_not_train_in_one_folder(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    config, finish, refused = load_config(tiny_config, ["epochs=1"]), EpochRecord._epoch, []

    def second(self, engine):
        with pytest.raises(InputError) as caught:
            train(config, prepared_phantom, tmp_path / "run", resume=True)
        refused.append(str(caught.value))
        finish(self, engine)

    monkeypatch.setattr(EpochRecord, "_epoch", second)
    run = train(config, prepared_phantom, tmp_path / "run")
    assert refused == [f"{run} must be written by one process at a time, got another at it. Wait for it to end."]


def test_weights_that_are_no_numbers_end_a_run_and_are_not_saved(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    finish = EpochRecord._epoch

    def spoil(self, engine):
        if engine.state.epoch == 2:
            next(self.state.network.parameters()).data[0] = float("nan")
        finish(self, engine)

    monkeypatch.setattr(EpochRecord, "_epoch", spoil)
    with pytest.raises(InputError, match=r"run: weights must stay numbers, got NaN in .* in epoch 2\. Lower learning"):
        train(load_config(tiny_config, ["epochs=3"]), prepared_phantom, tmp_path / "run")
    assert all(bool(value.isfinite().all()) for value in _weights(tmp_path / "run").values())


def test_a_damaged_checkpoint_is_one_clear_line(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["epochs=1"])
    run = train(config, prepared_phantom, tmp_path / "run")
    (run / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(
        InputError, match=r"checkpoint\.pt must be the checkpoint of this run, got a damaged.* delete it"
    ):
        train(config, prepared_phantom, run, resume=True)


def test_raw_data_are_refused_with_the_mend(raw_phantom, tiny_config, tmp_path):
    with pytest.raises(InputError, match="got one without prepare.json. Run `imaseg prepare"):
        train(load_config(tiny_config), raw_phantom, tmp_path / "run")


def test_a_device_that_is_not_here_is_refused(prepared_phantom, tiny_config, tmp_path):
    for name, text in (("cuda:99", "device must exist on this machine"), ("gpu", "device must be auto, cpu, cuda")):
        with pytest.raises(InputError, match=text):
            train(load_config(tiny_config, [f"device={name}"]), prepared_phantom, tmp_path / "run")


def test_mixed_precision_trains(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["amp=true", "epochs=1", IMA_METHOD])
    assert all(value.isfinite().all() for value in _weights(train(config, prepared_phantom, tmp_path / "run")).values())


def test_deep_supervision_trains_and_the_full_head_predicts(prepared_phantom, tiny_config, tmp_path):
    network = (
        "{name: DynUNet, kernel_size: [3, 3, 3], strides: [1, 2, 2], upsample_kernel_size: [2, 2], filters: [4, 8, 8],"
        " deep_supervision: true, deep_supr_num: 1}"
    )
    config = load_config(tiny_config, [f"network={network}", "epochs=3", IMA_METHOD])
    run = train(config, prepared_phantom, tmp_path / "run")
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    model = load_model(run)
    image = torch.zeros(1, 1, 17, 24, 16)
    assert model(image).shape == (1, 3, 17, 24, 16)
    assert [head.shape for head in model.train()(image[:, :, :16])] == [(1, 3, 16, 24, 16)] * 2


def test_rows_of_an_earlier_version_may_lack_columns(tmp_path):
    write_rows(tmp_path / "metrics.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4, "failed_clean": 0.1}])
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"epoch": "1", "loss": "0.5", "failed_clean": ""},
            {"epoch": "2", "loss": "0.4", "failed_clean": "0.1"},
        ]


@pytest.mark.parametrize("name", ["config.yaml", "model.json", "checkpoint.pt", "margin_trajectories.csv"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[1]"])
def test_any_damaged_file_of_a_run_is_named(name, content, prepared_phantom, tiny_config, tmp_path):
    run = train(load_config(tiny_config, [IMA_METHOD, "epochs=1"]), prepared_phantom, tmp_path / "run")
    if name == "margin_trajectories.csv":  # read when the next epoch ends
        (run / "checkpoint.pt").unlink()
        content = b"epoch,case\n" + content + b"x,y\n"
    (run / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)) as refused:
        train(load_config(tiny_config, [IMA_METHOD, "epochs=1"]), prepared_phantom, run, resume=True)
    assert "\n" not in str(refused.value)


def test_a_deleted_checkpoint_starts_the_run_again(prepared_phantom, tiny_config, tmp_path):
    run = train(load_config(tiny_config), prepared_phantom, tmp_path / "run")
    before = _weights(run)
    (run / "checkpoint.pt").unlink()
    assert _same(before, _weights(train(load_config(tiny_config), prepared_phantom, run, resume=True)))


def test_a_run_whose_folder_is_removed_does_not_go_on(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    finish = EpochRecord._iteration

    def robbed(self, engine):
        finish(self, engine)
        shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(EpochRecord, "_iteration", robbed)
    config = load_config(tiny_config, ["batch_size=4"])
    with pytest.raises(InputError, match=r"run must stay while it is written to, got config\.yaml removed"):
        train(config, prepared_phantom, tmp_path / "run")


def test_a_changed_voxel_does_not_continue_a_run(prepared_phantom, tiny_config, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    config = load_config(tiny_config, ["epochs=1"])
    run = train(config, data, tmp_path / "run")
    label = data / "labelsTr" / "phantom_001.nii.gz"
    image = nib.load(label)
    values = np.asanyarray(image.dataobj).copy()
    values[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(values, image.affine, image.header), label)
    with pytest.raises(InputError, match="run must be resumed with the data it was started with, got changed files"):
        train(config, data, run, resume=True)


def test_items_hold_no_more_after_many_epochs(prepared_phantom, tiny_config):
    cases = training_cases(prepared_phantom)
    loader = training_loader(cases, load_config(tiny_config), start=0)
    cached = loader.dataset.data
    notes = [len(item["image_transforms"]) for item in cached]
    for _ in range(3):
        assert {key for batch in loader for key in batch} == {"image", "label", "inside", "id"}
    assert [len(item["image_transforms"]) for item in cached] == notes


def test_the_best_epoch_by_monitored_dice_is_kept(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    dices = iter([0.2, 0.5, 0.5, 0.4])
    monkeypatch.setattr("imaseg.runs.monitor.Monitor.scores", lambda _: {"monitor_dice": next(dices)})
    kept = []
    finish = EpochRecord._epoch

    def note(self, engine):
        finish(self, engine)
        kept.append({name: value.clone() for name, value in self.model.network.state_dict().items()})

    monkeypatch.setattr(EpochRecord, "_epoch", note)
    config = load_config(tiny_config, ["epochs=4", "select=best", "monitor=0.3"])
    run = train(config, prepared_phantom, tmp_path / "run")
    assert [_same(_weights(run), one) for one in kept] == [False, True, False, False]


def test_the_best_epoch_needs_cases_to_choose_by(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["select=best", "monitor=0"])
    with pytest.raises(InputError, match="select: best must have cases to choose by, got none. Set monitor above 0"):
        train(config, prepared_phantom, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_runs_of_earlier_versions_resume_as_they_began(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["epochs=2", "foreground=0", "flip=[x]"])
    run = train(config, prepared_phantom, tmp_path / "run")
    lines = [
        line
        for line in (run / "config.yaml").read_text().splitlines()
        if not line.startswith(("foreground", "flip", "- x", "select"))
    ]
    (run / "config.yaml").write_text("\n".join(lines))
    train(config, prepared_phantom, run, resume=True)
    other = load_config(tiny_config, ["epochs=2"])
    with pytest.raises(
        InputError, match="must be resumed with the settings it was started with, got another foreground"
    ):
        train(other, prepared_phantom, run, resume=True)


def test_cases_much_larger_than_the_patch_are_monitored_in_tiles(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    from imaseg.runs import monitor as module

    sizes, forward = [], module.SegmentationModel.forward

    def noted(self, image):
        sizes.append(tuple(image.shape[2:]))
        return forward(self, image)

    run = train(load_config(tiny_config, ["epochs=1"]), prepared_phantom, tmp_path / "run")
    model, cases = load_model(run), training_cases(prepared_phantom)
    whole = module.Monitor(model, cases, [24, 24, 16]).scores()["monitor_dice"]
    monkeypatch.setattr(module.SegmentationModel, "forward", noted)
    tiled = module.Monitor(model, cases, [8, 8, 8]).scores()["monitor_dice"]
    assert set(sizes) == {(8, 8, 8)}
    assert tiled == pytest.approx(whole, abs=0.2)


def test_adversarial_weights_are_those_of_the_library(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    asked = []

    def note(*arguments, gamma, **named):
        asked.append(gamma)
        return adversarial_weights(*arguments, gamma=gamma, **named)

    monkeypatch.setattr(monai, "adversarial_weights", note)
    plain, moved = (
        train(load_config(tiny_config, ["epochs=1", *more]), prepared_phantom, tmp_path / f"run{len(more)}")
        for more in ([], ["awp=0.2"])
    )
    assert set(asked) == {0.2}
    one, other = (load_file(run / "weights.safetensors") for run in (plain, moved))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    monkeypatch.setattr(preflight, "several", lambda: True)
    with pytest.raises(InputError, match=r"awp must be left out where several processes train together"):
        train(load_config(tiny_config, ["awp=0.2"]), prepared_phantom, tmp_path / "never")
    assert not (tmp_path / "never").exists()
