"""Robust training inside nnU-Net's own trainer: same steps, margins by case, the same end after a resume."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from imaseg import InputError, load_model
from imaseg.integrations.nnunet.record import margin_figures, plot_margins
from imaseg.training import MarginTable, TrainingMethod
from tests.nnunet_folder import REGIONS, dataset, plans, preprocess, settings, write_raw

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")

SETTINGS = {
    "method": {"perturbation": {"name": "l2", "eps": 0.2, "unit": "rms"}, "steps": 2, "bisections": 1},
    "epochs": 2,
    "iterations": 2,
    "val_iterations": 1,
    "save_every": 1,
    "seed": 0,
    "robust_best": {"batches": 1, "steps": 1},
}
IDS = [f"phantom_00{i}" for i in range(1, 7)]
FOLDS = [{"train": IDS[:4], "val": IDS[4:]}]
IGNORING = {"background": 0, "front": 1, "ignore": 2}
KINDS = {
    "3d": (plans(), dataset()),
    "2d": (plans((16, 12)), dataset()),
    "regions": (plans(), dataset(REGIONS)),
    "ignore label": (plans(), dataset(IGNORING)),
    "regions, ignore label": (plans(), dataset({"background": 0, "both": [1, 2], "front": 1, "ignore": 3})),
}


@pytest.fixture(scope="module")
def roots(raw_phantom, tmp_path_factory):
    """Preprocessed phantoms of each kind."""
    made = {}
    for kind, (plan, content) in KINDS.items():
        root = tmp_path_factory.mktemp("nnunet")
        preprocess(root, write_raw(raw_phantom, root, content), plan, folds=FOLDS)
        made[kind] = root
    return made


@pytest.fixture
def trainer_of(roots, tmp_path, monkeypatch):
    """Makes trainers by the name of their class, each with results of its own."""

    def make(name="nnUNetTrainerIMA", kind="3d", *, results="results", **changed):
        from imaseg.integrations.nnunet import trainers

        for variable, value in settings(roots[kind]).items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("nnUNet_results", str(tmp_path / results))
        content = {**SETTINGS, **changed}
        if name == "nnUNetTrainerStandard":
            content["method"] = {}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
        monkeypatch.setenv("IMASEG_CONFIG", str(tmp_path / "config.yaml"))
        if name == "stock":
            from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

            return nnUNetTrainer(*_arguments(kind))
        return getattr(trainers, name)(*_arguments(kind))

    return make


def _arguments(kind, *, resume=False):
    """Of a trainer's constructor."""
    plan, description = (json.loads(json.dumps(part)) for part in KINDS[kind])
    plan["continue_training"] = resume
    return plan, next(iter(plan["configurations"])), 0, description, torch.device("cpu")


def _batch(trainer):
    torch.manual_seed(5)
    trainer.on_train_start()
    return next(trainer.dataloader_train)


def _copied(batch):
    target = batch["target"]
    copy = [one.clone() for one in target] if isinstance(target, list) else target.clone()
    return {**batch, "data": batch["data"].clone(), "target": copy}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deep_supervision", [True, False])
def test_without_an_attack_a_step_is_stock_nnunets_to_the_last_bit(kind, deep_supervision, trainer_of):
    ours = trainer_of("nnUNetTrainerStandard", kind, deep_supervision=deep_supervision)
    stock = trainer_of("stock", kind)
    stock.enable_deep_supervision = deep_supervision
    batch = _batch(ours)
    stock.initialize()
    stock.network.load_state_dict(ours.network.state_dict())
    for _ in range(2):
        losses = [float(trainer.train_step(_copied(batch))["loss"]) for trainer in (ours, stock)]
        assert losses[0] == losses[1]
    pairs = zip(ours.network.parameters(), stock.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", ["nnUNetTrainerIMA", "nnUNetTrainerPGD", "nnUNetTrainerTRADES"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_steps_on_every_kind_of_target(name, kind, trainer_of):
    if name == "nnUNetTrainerTRADES" and "trades" not in TrainingMethod.registry:
        pytest.skip("trades is not among imaseg's training methods yet")
    method = {"perturbation": SETTINGS["method"]["perturbation"], "steps": 1}
    trainer = trainer_of(name, kind, method=method)
    batch = _batch(trainer)
    before = [parameter.clone() for parameter in trainer.network.parameters()]
    loss = float(trainer.train_step(_copied(batch))["loss"])
    assert loss == loss
    moved = [not torch.equal(one, other) for one, other in zip(before, trainer.network.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    trainer.on_train_epoch_end([{"loss": torch.tensor(loss).numpy()}])
    if name == "nnUNetTrainerIMA":
        assert set(trainer.method.margins) == set(batch["keys"]) <= set(IDS[:4])
        margin = trainer.method.margins[batch["keys"][0]]
        assert 0.02 <= margin <= 0.04


def test_a_deformation_moves_nnunets_targets_along(trainer_of, monkeypatch):
    from imaseg.integrations.nnunet import robust

    made = []
    make = robust.loss_target
    monkeypatch.setattr(robust, "loss_target", lambda *a, **k: made.append(make(*a, **k)) or made[-1])
    method = {"perturbation": {"name": "deformation", "eps": 3.0}, "steps": 1, "increment": 3.0}
    trainer = trainer_of(method=method | {"criterion": {"name": "voxels-flipped", "fraction": 0.99}})
    batch = _batch(trainer)
    trainer.train_step(_copied(batch))
    clean, moved = made
    assert all(torch.equal(one, other) for one, other in zip(clean, batch["target"], strict=True))
    assert [one.shape for one in moved] == [one.shape for one in clean]
    assert not torch.equal(moved[0], clean[0])


def test_targets_of_a_label_that_did_not_move_are_those_of_nnunet(trainer_of):
    from imaseg.integrations.nnunet.targets import loss_target, search_label

    for kind in KINDS:
        trainer = trainer_of("nnUNetTrainerStandard", kind)
        target = _batch(trainer)["target"]
        manager = trainer.label_manager
        label = search_label(target, regions=manager.has_regions, ignore=manager.ignore_label)
        again = loss_target(label, target, ignore=manager.ignore_label)
        assert [one.dtype for one in again] == [one.dtype for one in target]
        assert all(torch.equal(one, other) for one, other in zip(again, target, strict=True))


def test_the_search_sees_full_resolution_in_float32_whatever_the_loss_sees(trainer_of):
    trainer = trainer_of()
    batch = _batch(trainer)
    seen = []
    trainer.network.register_forward_hook(
        lambda module, given, output: seen.append(
            (module.training, (output[0] if isinstance(output, list) else output))
        )
    )
    with torch.autocast("cpu", torch.bfloat16):
        trainer.train_step(_copied(batch))
    kinds = {training: {output.dtype for mode, output in seen if mode == training} for training in (True, False)}
    assert kinds == {True: {torch.bfloat16}, False: {torch.float32}}
    assert {tuple(output.shape[2:]) for _, output in seen} == {(16, 16, 12)}


def _step(trainer, batch, *, mixed):
    """One step on the same batch, under mixed precision with a scaled loss if wanted; nnU-Net has both on CUDA only."""
    trainer.grad_scaler = torch.amp.GradScaler("cpu") if mixed else None
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        return float(trainer.train_step(_copied(batch))["loss"])


def test_mixed_precision_and_a_scaled_loss_leave_stock_steps_and_the_search_as_they_are(trainer_of):
    ours, stock = trainer_of("nnUNetTrainerStandard"), trainer_of("stock")
    batch = _batch(ours)
    stock.initialize()
    stock.network.load_state_dict(ours.network.state_dict())
    assert [_step(trainer, batch, mixed=True) for trainer in (ours, ours)] == [
        _step(trainer, batch, mixed=True) for trainer in (stock, stock)
    ]
    pairs = zip(ours.network.parameters(), stock.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    seen, losses = {False: [], True: []}, []
    for mixed in (False, True):
        trainer = trainer_of(
            "nnUNetTrainerPGD", method={"perturbation": SETTINGS["method"]["perturbation"], "steps": 2}
        )
        _batch(trainer)
        trainer.network.register_forward_pre_hook(
            lambda module, given, mixed=mixed: seen[mixed].append(given[0].clone()) if module.training else None
        )
        losses.append(_step(trainer, batch, mixed=mixed))
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.05)
    (clean, perturbed), (same, found) = seen.values()
    assert torch.equal(clean, same)
    assert not torch.equal(clean, perturbed)
    assert torch.equal(perturbed, found), "the search knows nothing of the training precision"


def test_the_loss_is_compiled_and_the_search_is_not(trainer_of, monkeypatch):
    from imaseg.integrations.nnunet.robust import RobustTrainer

    plain = trainer_of()
    batch = _batch(plain)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compiled(module, backend="eager"))
    monkeypatch.setattr(RobustTrainer, "_do_i_compile", lambda _: True)  # nnU-Net itself refuses to on a CPU
    trainer = trainer_of()
    trainer.initialize()
    inner = trainer.network._orig_mod
    assert all(
        torch.equal(one, other) for one, other in zip(plain.network.parameters(), inner.parameters(), strict=True)
    )
    passes = []
    inner.register_forward_pre_hook(lambda module, _: passes.append((module.training, torch.compiler.is_compiling())))
    for _ in range(2):
        losses = [float(one.train_step(_copied(batch))["loss"]) for one in (plain, trainer)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert {*passes} == {(False, False), (True, True)}
    for one in (plain, trainer):
        one.method.end_epoch()
    assert trainer.method.margins == pytest.approx(plain.method.margins, rel=1e-3)
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "c.pth"))
    assert _read(trainer.output_folder, "c.pth")["network_weights"].keys() == plain.network.state_dict().keys()


@pytest.mark.slow
def test_two_ranks_train_one_network_and_keep_one_table_of_margins(roots, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    variables = settings(roots["2d"]) | {
        "nnUNet_results": str(tmp_path / "results"),
        "IMASEG_CONFIG": str(tmp_path / "config.yaml"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.integrations.nnunet_rank", str(tmp_path)]
    ranks = [
        subprocess.Popen(
            [*command, str(rank)],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        said = rank.communicate(timeout=300)[0]
        assert rank.returncode == 0, said[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])
    assert first["history"] == second["history"]
    assert len(first["visits"]) == len(second["visits"]) == 4
    alone = MarginTable(0.02, 0.2)
    for epoch in range(2):
        for rank in (first, second):
            for visit in rank["visits"][2 * epoch : 2 * epoch + 2]:
                alone.record(*visit)
        alone.end_epoch()
    assert first["table"] == second["table"]
    assert alone.margins == first["table"]["margins"]
    assert len({case for rank in (first, second) for ids, *_ in rank["visits"] for case in ids}) > 1
    (kept,) = (tmp_path / "results").glob("*/*/fold_0/margins.csv")
    with kept.open() as file:
        assert {row["case"]: float(row["margin"]) for row in csv.DictReader(file)} == alone.margins


def _read(folder, name):
    return torch.load(Path(folder) / name, weights_only=False)


def _stop_before(trainer, epoch):
    begin = trainer.on_epoch_start

    def start():
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        begin()

    trainer.on_epoch_start = start


def test_a_resumed_run_ends_with_the_weights_and_margins_of_one_that_was_not(trainer_of, monkeypatch):
    whole = trainer_of(results="whole")
    whole.run_training()
    first = trainer_of(results="parts")
    _stop_before(first, 1)
    with pytest.raises(KeyboardInterrupt):
        first.run_training()
    monkeypatch.setattr("os.environ", {k: v for k, v in os.environ.items() if k != "IMASEG_CONFIG"})
    rest = type(first)(*_arguments("3d", resume=True))
    rest.load_checkpoint(str(Path(rest.output_folder) / "checkpoint_latest.pth"))
    assert rest.config == first.config, "taken from the checkpoint"
    assert rest.current_epoch == 1
    rest.run_training()
    one, other = (_read(trainer.output_folder, "checkpoint_final.pth") for trainer in (whole, rest))
    assert all(torch.equal(one["network_weights"][k], other["network_weights"][k]) for k in one["network_weights"])
    kept, resumed = (content["init_args"]["imaseg"] for content in (one, other))
    assert kept["state"]["table"]["margins"]
    assert kept == resumed


def test_the_folder_holds_margins_epochs_a_plot_and_the_most_robust_checkpoint(trainer_of):
    trainer = trainer_of(epochs=1)
    trainer.run_training()
    folder = Path(trainer.output_folder)
    with (folder / "margins.csv").open() as file:
        margins = {row["case"]: float(row["margin"]) for row in csv.DictReader(file)}
    assert margins == trainer.method.margins
    with (folder / "robustness.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["epoch"] == "1.0"
    assert 0 <= float(row["robust_dice"]) <= 1
    assert float(row["margin_q50"]) == pytest.approx(sorted(margins.values())[len(margins) // 2], abs=0.05)
    assert (folder / "margins.png").read_bytes().startswith(b"\x89PNG")
    settings = yaml.safe_load((folder / "imaseg.yaml").read_text())
    assert settings["method"] == SETTINGS["method"]
    best = _read(folder, "checkpoint_robust_best.pth")
    assert best["init_args"]["imaseg"]["probe"]["best"] == float(row["robust_dice"])
    model = load_model(f"nnunet:{trainer.output_folder_base}@0/checkpoint_robust_best.pth")
    assert model.card.method == {"name": "nnUNetTrainerIMA", "settings": SETTINGS["method"]}
    assert (model.card.train_ids, model.card.val_ids) == (IDS[:4], IDS[4:])


def test_the_plot_is_the_same_after_nnunet_has_enlarged_all_letters(tmp_path):
    from matplotlib import rc_context

    margins = {"a": 0.01, "b": 0.03}
    drawn = []
    for size in (10, 30):
        with rc_context({"font.size": size}):
            plot_margins(tmp_path, margins, [{"epoch": 1.0, **margin_figures(margins)}], "rms")
        drawn.append((tmp_path / "margins.png").read_bytes())
    assert drawn[0] == drawn[1]


def test_a_run_is_not_gone_on_with_by_other_settings_or_another_method(trainer_of):
    trainer = trainer_of(epochs=1, robust_best={"batches": 0})
    trainer.run_training()
    path = str(Path(trainer.output_folder) / "checkpoint_final.pth")
    other = trainer_of(method={"steps": 7})
    with pytest.raises(InputError, match="with the settings it was started with, got another method"):
        other.load_checkpoint(path)
    with pytest.raises(InputError, match=r"must be a checkpoint of nnUNetTrainerPGD .*, got one of method ima"):
        trainer_of("nnUNetTrainerPGD", method={}).load_checkpoint(path)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"epoch": 3}, r"config.yaml: key must be one of method, epochs, .* got 'epoch'"),
        ({"robust_best": {"batch": 3}}, "key must be one of batches, steps, perturbation, got 'robust_best.batch'"),
        ({"iterations": 0}, "config.yaml: iterations must be valid, got 0"),
    ],
)
def test_wrong_settings_are_one_clear_line(changed, text, trainer_of):
    with pytest.raises(InputError, match=text):
        trainer_of(**changed)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ({"step": 3}, "arguments of ima must be among"),
        ({"name": "trades"}, "name must be ima, got 'trades'. Name another trainer with -tr."),
        ({"perturbation": {"name": "l3"}}, "perturbation must be one of"),
    ],
)
def test_wrong_methods_are_one_clear_line(method, text, trainer_of):
    with pytest.raises(InputError, match=rf"method of nnUNetTrainerIMA: {text}"):
        trainer_of(method=method).initialize()


@pytest.mark.slow
def test_stock_nnunet_finds_every_trainer_by_name(tmp_path):
    code = (
        "import inspect, os\n"
        "from imaseg.integrations.nnunet.where import external\n"
        "os.environ['nnUNet_extTrainer'] = str(external())\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "for name in ('IMA', 'PGD', 'TRADES', 'Standard', 'IMA_5epochs', 'PGD_1epoch', 'TRADES_250epochs'):\n"
        "    kind = find('nnUNetTrainer' + name)\n"
        "    print(kind.__module__, kind.__name__, kind.short, list(inspect.signature(kind.__init__).parameters))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if line.startswith("imaseg.")]
    arguments = "['self', 'plans', 'configuration', 'fold', 'dataset_json', 'device']"
    home = "imaseg.integrations.nnunet.trainers nnUNetTrainer"
    assert lines[0] == f"{home}IMA None {arguments}"
    assert lines[4:] == [
        f"{home}{name} {arguments}" for name in ("IMA_5epochs 5", "PGD_1epoch 1", "TRADES_250epochs 250")
    ]
