"""Training: MONAI's engine and handlers around a training method, with a checkpoint after every epoch.

Under `torchrun` the processes share the cases of each epoch, and the first process writes all files.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from torch.nn.parallel import DistributedDataParallel

from imaseg.data import CaseSet, load_cases
from imaseg.data.spacing import states_spacing
from imaseg.errors import InputError
from imaseg.integrations.monai import RobustIteration
from imaseg.models.networks import divisor_of, load_weights
from imaseg.models.run_folder import build_model, read_weights
from imaseg.models.segmentation import ModelCard, SegmentationModel
from imaseg.models.threads import threads_for
from imaseg.progress import counted
from imaseg.ranks import as_first_says, joined, rank, several, wait
from imaseg.runs.augmentation import augmentation, flipped_axes, sided
from imaseg.runs.batches import held_out, seed_everything, training_loader
from imaseg.runs.build import build_method, build_monitor_attack, build_schedule
from imaseg.runs.checkpoint import CHECKPOINT, RunState
from imaseg.runs.choice import outcome
from imaseg.runs.claim import alone, claim
from imaseg.runs.config import TrainConfig
from imaseg.runs.kept import estimate_statistics, kept_network
from imaseg.runs.memory import held
from imaseg.runs.monitor import Monitor
from imaseg.runs.preflight import check_fit, time_estimate
from imaseg.runs.record import EpochRecord


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    announce: Callable[[str], None] | None = None,
    follow_links: bool = False,
    dry_run: bool = False,
) -> Path:
    """Train a segmentation model.

    Args:
        config: settings.
        data: folder that `imaseg prepare` wrote; its `split.json` names the training cases, all cases without it.
        out: run folder to write: `config.yaml`, `model.json`, `weights.safetensors`, `checkpoint.pt`, `metrics.csv`,
            `outcome.json` (how far it came, and which epoch the weights are of), `margins.csv` and
            `margin_trajectories.csv` for IMA (one of each per perturbation set, such as `margins_gamma.csv`, where
            there are several), `tensorboard/`.
        resume: continue the run in `out`; on the CPU the result of one process equals that of an uninterrupted run bit
            by bit.
        announce: called before the first batch with a line on the number of cases and the expected time, and after
            epochs with what is wrong with the margins.
        follow_links: as in `load_cases`.
        dry_run: check that everything fits and tell `announce` how long it would take; nothing is written.

    Returns:
        `out`.

    Raises:
        InputError: if data, configuration or `out` do not fit.
    """
    with joined(config.device) as device:
        cases = training_cases(data, follow_links=follow_links)
        _train(config, cases, out, device, resume=resume, announce=announce, dry_run=dry_run)
    return out


def _train(
    config: TrainConfig,
    cases: CaseSet,
    out: Path,
    device: torch.device,
    *,
    resume: bool,
    announce: Callable[[str], None] | None,
    dry_run: bool,
) -> None:
    first = rank() == 0
    if config.within is not None:
        _require_spacing(cases)
    train_ids, monitor_ids = held_out(cases.ids, config.monitor, config.seed)
    _require_monitored(config, monitor_ids)
    attack, within = build_monitor_attack(config)
    seed_everything(config.seed, 0)
    card = _card(config, cases, train_ids, out.name)
    _require_sizes_unsaid(config, card)
    model = build_model(card).to(device)
    _start_from_init(config, model, begun=resume and (out / CHECKPOINT).is_file())
    state = _state(config, model, cases)
    check_fit(config, model, state.method, len(train_ids))
    augmentation(config, cases.labels)  # refused before anything is written
    with ExitStack() as stack:
        if first:
            claim(out, config, card, resume=resume, dry_run=dry_run)
            if not dry_run:
                stack.enter_context(alone(out))
        wait()
        if (out / CHECKPOINT).is_file():
            state.load(out)
        patch = torch.zeros(min(config.batch_size, len(train_ids)), card.in_channels, *config.patch, device=device)
        chosen = stack.enter_context(threads_for(model, None if several() else patch, kept=state.threads))
        state.threads = torch.get_num_threads()
        over = bool(state.history) and outcome(state.history, config).over
        if over and announce is not None and first and state.epoch < config.epochs:
            announce(outcome(state.history, config).sentence)
        if not over:
            hold, told = held(cases, config.patch, config.cache)
            if announce is not None and first:
                announce(" ".join([time_estimate(config, model, state, len(train_ids)), chosen]).strip())
                announce(told)
                if config.augment is not False:
                    announce(_flips(config, cases))
            if dry_run:
                return
            trainer = _trainer(config, model, state, cases.select(train_ids), hold=as_first_says(hold))
            if first:
                saved = model if state.kept is None else SegmentationModel(state.kept.module, card)
                monitor = None
                if monitor_ids:
                    monitored = cases.select(monitor_ids)
                    monitor = Monitor(saved, monitored, config.patch, attack=attack, within=within, hold=hold)
                record = EpochRecord(saved, state, out, monitor=monitor, config=config, say=announce)
                stack.enter_context(record).attach(trainer)
            _end_early(trainer, state, config)
            trainer.run()
    wait()


def _require_monitored(config: TrainConfig, monitor_ids: list[str]) -> None:
    """Refuse to choose epochs by cases that there are not.

    Raises:
        InputError: if that is asked for.
    """
    for asked, key, mend in (
        (config.select == "best", "select: best", "select: last"),
        (config.patience is not None, "patience", "patience: null"),
    ):
        if asked and not monitor_ids:
            msg = f"{config.where}{key} must have cases to choose by, got none. Set monitor above 0, or {mend}."
            raise InputError(msg)


def _start_from_init(config: TrainConfig, model: SegmentationModel, *, begun: bool) -> None:
    """Load the weights to start from; a run that has begun goes on from its own, wherever those are by now."""
    if config.init is not None and not begun:
        load_weights(model.network, read_weights(Path(config.init)), source=config.init)


def _require_sizes_unsaid(config: TrainConfig, card: ModelCard) -> None:
    """Refuse dimensions and channels of the network that are not those of the data.

    Raises:
        InputError: naming the first such key.
    """
    sizes = {"spatial_dims": card.spatial_dims, "in_channels": card.in_channels, "out_channels": len(card.labels)}
    for key, size in sizes.items():
        if (said := config.network.get(key, size)) != size:
            msg = f"{config.where}network.{key} must be {size}, as the data have it, got {said!r}. Leave it out."
            raise InputError(msg)


def _end_early(trainer: SupervisedTrainer, state: RunState, config: TrainConfig) -> None:
    """End the run in all processes once the first one is out of patience; after the record of the epoch."""
    if config.patience is None:
        return

    @trainer.on(Events.EPOCH_COMPLETED)
    def end(engine: SupervisedTrainer) -> None:
        if as_first_says(rank() == 0 and outcome(state.history, config).ended_early):
            engine.terminate()


def _flips(config: TrainConfig, cases: CaseSet) -> str:
    axes, names = ", ".join(flipped_axes(config, cases.labels)), sided(cases.labels)
    if axes and names:
        return f"Warning: cases are mirrored along {axes}, and {names[0]!r} names a side. Set flip: []."
    if axes:
        return f"Cases are mirrored at random along {axes}; no label names a side."
    return f"No case is mirrored: {f'{names[0]!r} names a side' if names else 'flip is empty'}."


def training_cases(data: Path, *, follow_links: bool = False) -> CaseSet:
    """Return the `train` cases of a prepared folder; all its cases if it has no split.

    Raises:
        InputError: if the folder was not prepared, is empty, a case has no label, or label values have gaps.
    """
    cohort = load_cases(data, follow_links=follow_links)
    if cohort.prepared is None:
        msg = (
            f"{data} must be a folder that `imaseg prepare` wrote, got one without prepare.json. "
            f"Run `imaseg prepare {data} OUT` and train on OUT."
        )
        raise InputError(msg)
    if "train" in cohort.split:
        cohort = cohort.select(cohort.split["train"])
    elif rank() == 0:
        warnings.warn(
            f"{data} has no split: all {counted(len(cohort), 'case')} are trained on, and none is left for an audit. "
            "`imaseg prepare --split 0.8` makes one.",
            stacklevel=2,
        )
    bare = [case.id for case in cohort if case.label is None]
    if bare:
        msg = f"{data} must have a label for each training case, got none for {', '.join(bare[:3])}."
        raise InputError(msg)
    if not len(cohort):
        msg = f"{data} must hold at least one training case, got an empty `train` in split.json. Correct split.json."
        raise InputError(msg)
    if sorted(cohort.labels) != list(range(len(cohort.labels))):
        changed = {value: i for i, value in enumerate(sorted(cohort.labels)) if value != i}
        msg = (
            f"labels of {data} must be 0, 1, 2, ... without gaps, got {sorted(cohort.labels)}. Prepare the data again "
            f"with label_map: {changed} in a --config file."
        )
        raise InputError(msg)
    return cohort


def _require_spacing(cases: CaseSet) -> None:
    """Refuse distances in mm on cases whose files do not say how large a voxel is.

    Raises:
        InputError: if there is such a case.
    """
    for case in cases:
        spacing = np.linalg.norm(nib.nifti1.load(case.image[0]).affine[:3, :3], axis=0).tolist()
        if not states_spacing(cases, case, spacing):
            msg = (
                f"within must go with voxel sizes in mm, got case {case.id} of {cases.root}, which was prepared from "
                "pictures, which state none. Leave `within` out, or write the images as NIfTI."
            )
            raise InputError(msg)


def _card(config: TrainConfig, cases: CaseSet, train_ids: list[str], name: str) -> ModelCard:
    return ModelCard(
        name=name,
        network=config.network,
        labels=cases.labels,
        in_channels=max(1, len(cases.modality)),
        spatial_dims=len(config.patch),
        divisor=divisor_of(config.network),
        method=config.method,
        recipe=(cases.prepared or {}).get("recipe"),
        fingerprint=(cases.prepared or {}).get("fingerprint"),
        train_ids=train_ids,
    )


def _state(config: TrainConfig, model: SegmentationModel, cases: CaseSet) -> RunState:
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    scaler = torch.amp.GradScaler(enabled=config.amp and torch.cuda.is_available())
    schedule, method = build_schedule(config, optimizer), build_method(config)
    method.set_voxel_volume(_voxel_volume(model.card))
    kept = kept_network(model.network, config)
    return RunState(model.network, optimizer, schedule, method, scaler, kept, data=cases.sha256())


def _voxel_volume(card: ModelCard) -> float:
    """Volume of a voxel in mm3, of the median case where the recipe does not resample."""
    usual = (card.fingerprint or {}).get("spacing", [1.0])
    wanted = (card.recipe or {}).get("spacing")
    sizes = wanted if isinstance(wanted, list | tuple) else [None] * len(usual)
    return math.prod(size or kept for size, kept in zip(sizes, usual, strict=False))


def _trainer(
    config: TrainConfig, model: SegmentationModel, state: RunState, cases: CaseSet, *, hold: bool
) -> SupervisedTrainer:
    iteration = RobustIteration(state.method, awp=config.awp)
    loader = training_loader(cases, config, start=state.epoch, hold=hold)
    trainer = SupervisedTrainer(
        device=next(model.parameters()).device,
        max_epochs=config.epochs,
        train_data_loader=loader,
        network=DistributedDataParallel(model) if several() else model,
        optimizer=state.optimizer,
        loss_function=state.method.loss,
        iteration_update=iteration,
        amp=config.amp,
        decollate=False,
    )
    iteration.attach(trainer)
    LrScheduleHandler(state.schedule, print_lr=False).attach(trainer)
    trainer.state.epoch = state.epoch
    trainer.state.iteration = state.epoch * len(loader)

    @trainer.on(Events.STARTED)
    def keep_scale(engine: SupervisedTrainer) -> None:
        # MONAI makes a new scaler when a run starts; a resumed run needs the one it had.
        engine.scaler = state.scaler

    @trainer.on(Events.EPOCH_STARTED)
    def seed_epoch(engine: SupervisedTrainer) -> None:
        seed_everything(config.seed, engine.state.epoch)

    if (kept := state.kept) is not None:

        @trainer.on(Events.ITERATION_COMPLETED)
        def average(_: SupervisedTrainer) -> None:
            kept.update_parameters(state.network)

        @trainer.on(Events.EPOCH_COMPLETED)
        def estimate(engine: SupervisedTrainer) -> None:
            if config.clean_statistics and rank() == 0:
                estimate_statistics(SegmentationModel(kept.module, model.card), loader, config, engine.state.epoch - 1)

    return trainer
