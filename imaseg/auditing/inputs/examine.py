"""What is known of a model, and of data for it, before anything is attacked: the content of `imaseg doctor MODEL`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from imaseg.auditing.inputs.outputs import crossing, settle, watched
from imaseg.auditing.inputs.randomness import random_note, redecided
from imaseg.auditing.inputs.reference import Reference
from imaseg.auditing.inputs.source import Loaded, held_out_missing, reason_for, training_cases_among
from imaseg.auditing.inputs.subject import Subject
from imaseg.data import load_cases
from imaseg.errors import InputError
from imaseg.frozen import frozen
from imaseg.models import SegmentationModel, load_model
from imaseg.models.adapted import AdaptedModel
from imaseg.models.card import UNTOUCHED
from imaseg.models.outputs.probe import gradient_reaches, noise, seen_on_noise, trying
from imaseg.models.outputs.regions import masks, region_logits
from imaseg.progress import counted
from imaseg.scores import hard_dice
from imaseg.tiling import TiledModel

_POOR = 0.1
_TRIED = 3
_SIDE = 32
_BLIND = (
    "No gradient reaches the image: attacks that need one find nothing, which looks like robustness. Use a plan with "
    "`attack: square`, or a network without rounding, argmax or no_grad inside."
)


def examine_model(spec: str, *, trust: bool = False) -> tuple[SegmentationModel, dict[str, Any]]:
    """Load a model and say what it is.

    Returns:
        The model, and what was found, fit for JSON: among it `notes`, sentences on what was assumed, and `problems`,
        what speaks against an audit.

    Raises:
        InputError: as `load_model`.
    """
    model = load_model(spec, trust=trust)
    card = model.card
    with trying(card.name):
        gradient = gradient_reaches(model, card.in_channels, _sides(model))
        share = redecided(model, noise(1, card.in_channels, *_sides(model)))
    facts: dict[str, Any] = {
        "spec": spec,
        "kind": _kind(model, spec),
        "name": card.name,
        "network": str(card.network.get("name", type(model.network).__name__)),
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "input": _input(model),
        "tiles": _tiles(model),
        "labels": {str(k): name for k, name in card.labels.items()},
        "regions": card.regions,
        "label_map": {str(value): k for value, k in card.label_map.items()},
        "preparation": _preparation(model),
        "trained_by": card.method.get("name"),
        "train_ids": len(card.train_ids),
        "val_ids": len(card.val_ids),
        "gradient_reaches_image": gradient,
        "random": None if share is None else round(share, 4),
    }
    judge_outputs(model, facts)
    facts["notes"] = _notes(model, facts)
    return model, facts


def judge_outputs(model: SegmentationModel, facts: dict[str, Any]) -> None:
    """Enter the activation, and as problems what speaks against it or against attacks."""
    facts["activation"] = _activation(model, _sides(model))
    problem = model.problem() if isinstance(model, AdaptedModel) else None
    blind = None if facts["gradient_reaches_image"] else _BLIND
    facts["problems"] = [text for text in (blind, problem) if text is not None]


def examine_data(
    model: SegmentationModel,
    data: Path,
    *,
    select: str | None = None,
    verify: bool = False,
    follow_links: bool = False,
    reference: Reference = "label",
) -> dict[str, Any]:
    """Look at data through the eyes of a model: label names, preparation, and the clean Dice of a few cases.

    Against the model's own prediction Dice is 1 by definition: there the voxels that it finds take its place.

    Args:
        model: on its device.
        data: what `load_cases` takes.
        select: which cases, as in `choose`.
        verify: whether to predict the first case once more by the model's own software, and compare.
        follow_links: as in `load_cases`.
        reference: what an audit would judge cases by; `prediction` needs no labels.

    Raises:
        InputError: if they do not fit, or none of the cases looked at can be read.
    """
    cohort = load_cases(data, missing_ok=True, follow_links=follow_links)
    subject = Subject.of(model, cohort, select=select, device=None, reference=reference)
    chosen = subject.cases
    few = sorted({round(place * (len(chosen) - 1) / (_TRIED - 1)) for place in range(_TRIED)})
    tried: list[dict[str, Any]] = []
    problems: list[str] = []
    for place in few:
        try:
            tried.append(_tried(subject.model, subject.source.load(chosen[place]), problems))
        except InputError as error:
            problems.append(str(error))
    model.ending = subject.model.ending
    if not tried:
        msg = (
            f"{data} must hold cases that fit the model, got none among the {len(few)} of {len(chosen)} that were "
            f"tried. First reason: {problems[0]}"
        )
        raise InputError(msg)
    if warning := training_cases_among(chosen, model.card):
        problems.append(warning)
    because = reason_for(cohort, model.card, subject.selection)
    if held_out_missing(cohort, model.card):
        problems.append(because)
    agreed = subject.agreement() if verify else None
    if agreed is not None and agreed.agrees is False:
        problems.append(agreed.sentence)
    has_card = isinstance(model, AdaptedModel)
    if lost := [name for name in tried[0]["dice"] if _unfound(name, tried)]:
        problems.append(_not_found(lost, tried, has_card=has_card))
    if reference == "prediction" and not any(any(case["found"].values()) for case in tried):
        problems.append(
            f"The model finds nothing in any of the {len(tried)} cases tried. Before you trust an audit, look "
            f"{_where(has_card=has_card)}."
        )
    return {
        "folder": str(data),
        "cases": len(cohort),
        "chosen": len(chosen),
        "selection": subject.selection,
        "prepared": cohort.prepared is not None,
        "preparation": subject.preparation().model_dump(mode="json"),
        "agreement": None if agreed is None else agreed.model_dump(mode="json"),
        "tried": tried,
        "ids": chosen.ids,
        "reference": reference,
        "notes": [*subject.notes, *([] if because in problems else [because]), *_missed(tried, lost)],
        "problems": problems,
    }


def _unfound(name: str, tried: Sequence[dict[str, Any]]) -> bool:
    """Whether a class is next to never found where it is labelled."""
    labelled = [case["dice"][name] for case in tried if name in case["labelled"]]
    return bool(labelled) and max(labelled) < _POOR


def _missed(tried: Sequence[dict[str, Any]], lost: Sequence[str]) -> Iterator[str]:
    """Sentences on structures that are next to never found in some of the cases that hold them, though not in all."""
    empty = sum(not any(case["found"].values()) for case in tried if case["found"])
    if 0 < empty < len(tried):
        yield f"Nothing is found in {empty} of {len(tried)} cases tried: there stability says nothing of the model."
    for name in tried[0]["dice"]:
        scores = [case["dice"][name] for case in tried if name in case["labelled"]]
        few = sum(score < _POOR for score in scores)
        if few and name not in lost:
            yield (
                f"{name} is labelled in {counted(len(scores), 'case')} tried and next to never found in {few}: a wrong "
                "recipe, or slices at its end? Look at more cases (--cases) before you trust an audit."
            )


def _not_found(lost: Sequence[str], tried: Sequence[dict[str, Any]], *, has_card: bool) -> str:
    ids = ", ".join(case["id"] for case in tried if {*lost} & {*case["labelled"]})
    what = f"The model finds next to nothing of what is labelled {', '.join(lost)} in {ids}."
    return f"{what} Before you trust an audit, look {_where(has_card=has_card)}."


def _where(*, has_card: bool) -> str:
    """To look at if a model finds nothing."""
    return (
        "in the card at `label_map` and `labels` (is it that structure?), `axes` and `flip` (orientation) and `recipe` "
        "(spacing, intensities)"
        if has_card
        else "at the names of the labels (is it that structure?), and at orientation, voxel size and grey values of "
        "the files"
    )


def _tried(model: SegmentationModel, loaded: Loaded, problems: list[str]) -> dict[str, Any]:
    """A case as the model takes it, and its clean Dice by the names of the classes; adds what the outputs show."""
    image = torch.from_numpy(loaded.volume.image)[None]
    unknown = model.ending.activation == "unknown"
    with torch.no_grad(), trying(model.card.name), watched(model) as watch:
        logits = model(image)
    found = (settle(model, watch.seen), crossing(model, watch))
    problems += [problem for problem in found if problem is not None and problem not in problems]
    if unknown:
        with torch.no_grad():
            logits = model(image)
    names, groups, label = model.card.structures, model.card.groups, torch.from_numpy(loaded.label)[None]
    dice = (
        hard_dice(region_logits(logits, groups), masks(label, groups))[0]
        if model.card.regions
        else hard_dice(logits, label)[0, 1:]
    )
    scores = {name: round(float(one), 3) for name, one in zip(names.values(), dice, strict=True)}
    inside = {name: int(torch.isin(label, torch.tensor(groups[k])).sum()) for k, name in names.items()}
    return {
        "id": loaded.volume.id,
        "shape": list(loaded.volume.shape),
        "sized": loaded.spaced,
        "spacing_mm": [round(size, 3) for size in loaded.volume.spacing],
        "lowest": round(float(image.min()), 3),
        "highest": round(float(image.max()), 3),
        "native_units_per_unit": loaded.native_scale,
        "dice": {} if loaded.own else scores,
        "found": inside if loaded.own else {},
        "labelled": [] if loaded.own else [name for name, number in inside.items() if number],
    }


def next_command(facts: dict[str, Any], data: Path | None, *, trust: bool, cases: str | None = None) -> str:
    """What to type to audit the model, on the cases that were asked for."""
    words = ["imaseg", "audit", facts["spec"], str(data) if data else "DATA", "--out", "audit"]
    words += [] if cases is None else ["--cases", cases]
    if facts.get("data", {}).get("reference") == "prediction":
        words += ["--reference", "prediction"]
    return shlex.join([*words, "--trust"] if trust else words)


def _kind(model: SegmentationModel, spec: str) -> str:
    if isinstance(model, AdaptedModel):
        return model.found.kind
    kind, colon, _ = spec.partition(":")
    return kind if colon and kind in ("nnunet", "python") else "run"


def _input(model: SegmentationModel) -> dict[str, Any]:
    card = model.card
    facts: dict[str, Any] = {"channels": card.in_channels, "spatial_dims": card.spatial_dims, "divisor": card.divisor}
    facts["pad_value"] = "lowest" if card.pad_value is None else card.pad_value
    if isinstance(model, AdaptedModel):
        use = model.found.card
        facts |= {"spatial_dims": use.spatial_dims, "divisor": model.found.probe.divisor, "axes": use.axes}
        facts |= {"flip": use.flip} if use.flip else {}
    return facts


def _tiles(model: SegmentationModel) -> dict[str, Any] | None:
    tiled: Any = model.found.card if isinstance(model, AdaptedModel) else model.network
    if (not isinstance(model, AdaptedModel) and not isinstance(tiled, TiledModel)) or tiled.roi_size is None:
        return None
    return {"roi_size": tiled.roi_size, "overlap": tiled.overlap, "mode": tiled.mode}


def _sides(model: SegmentationModel) -> list[int]:
    """Of a small image that the model takes."""
    if isinstance(model, AdaptedModel):
        return [*model.found.probe.sides, 1][:3]
    tiles = _tiles(model)
    if tiles is not None and isinstance(tiles["roi_size"], list | tuple):
        sides = [int(side) for side in tiles["roi_size"]]
        return sides if len(sides) == 3 else [1, *sides]
    return [-(-_SIDE // model.card.divisor) * model.card.divisor] * model.card.spatial_dims


def _activation(model: SegmentationModel, sides: list[int]) -> dict[str, Any]:
    """What the network has done to its logits, whether that is undone, and who says so."""
    if isinstance(model, AdaptedModel):
        found = model.ending.activation
        undone = found not in ("none", "unknown")
        return {"found": found, "said": model.found.card.activation, "undone": undone, "by": model.ending.by}
    with frozen(model), torch.no_grad(), trying(model.card.name):
        found = seen_on_noise(model, noise(1, model.card.in_channels, *sides)).activation
    return {"found": found, "said": "auto", "undone": False, "by": model.ending.by}


def _preparation(model: SegmentationModel) -> dict[str, Any] | None:
    """Keys of the recipe that do something; None if nobody says how images are prepared."""
    if model.card.recipe is None:
        return None if model.prepare is None else {"by": "the model itself"}
    recipe = {key: value for key, value in model.card.recipe.items() if value is not None and value is not False}
    idle = {"crop": ["crop_margin"], "spacing": ["image_order", "label_order"]}
    silent = {name for key, names in idle.items() if recipe.get(key) is None for name in names}
    if recipe.get("normalise") not in ("zscore", "percentile", "auto"):
        silent.add("within")
    if recipe.get("normalise") != "percentile":
        silent.add("percentiles")
    used = {key: value for key, value in recipe.items() if key not in silent and UNTOUCHED.get(key) != value}
    if (transforms := used.get("transforms")) is not None:
        used["transforms"] = [entry["_target_"].removesuffix("d") for entry in transforms]
    return used


def _notes(model: SegmentationModel, facts: dict[str, Any]) -> list[str]:
    notes = list(model.found.notes) if isinstance(model, AdaptedModel) else []
    activation = facts["activation"]
    if activation["undone"]:
        how = "was found by a probe" if activation["by"] == "probe" else f"the {activation['by']} says so"
        notes.append(f"The network ends in a {activation['found']} ({how}): it is undone, so that attacks see logits.")
    if isinstance(model, AdaptedModel):
        structures = (
            model.found.probe.channels == len(model.card.labels) - 1 > 1 or model.found.layout.channels is not None
        )
        if model.card.regions:
            told = ", ".join(model.card.regions)
            notes.append(f"Scored are regions, painted from the largest to the smallest: {told}.")
        elif structures:
            order = model.found.layout.channels or dict(enumerate(range(1, len(model.card.labels))))
            told = ", ".join(f"{model.card.labels[k]}" for k in order.values())
            notes.append(f"Channels are structures that may overlap; painted one over the other in this order: {told}.")
        if all(name.isdecimal() for k, name in model.card.labels.items() if k > 0):
            notes.append(
                "Nobody names its classes: labels of the data are matched by number. `labels:` in a card names them."
            )
    if model.left_out:
        notes.append(f"Of its own postprocessing this is left out: {'; '.join(model.left_out)}.")
    if facts["preparation"] is None:
        notes.append(
            "Nobody says how its images are prepared: use data prepared the same way, or write `recipe:` into a card."
        )
    if note := random_note(facts["random"]):
        notes.append(note)
    if not model.card.train_ids:
        notes.append("Which cases it was trained on is unknown: audit it on cases that you know it has not seen.")
    return notes
