"""The worst cases for the page's viewer: clean, attacked, difference and voxel margins in linked planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imaseg.report.audits import Audit, Audits, owner, reference_word
from imaseg.report.blocks import Explored, Explorer
from imaseg.report.compare import showcased
from imaseg.report.drawing.explored import Crop, colours, gain, nifti, read_crop, thinned, visible, with_margins
from imaseg.report.drawing.pictures import OUTLINES
from imaseg.report.voxel_maps import maps_by_set
from imaseg.report.wording import short, unit_name
from imaseg.results.maps import VoxelMap

_CASES, _VOXELS = 6, 420_000
"""On the whole page, which must stay small enough to send."""
_COLOURS = colours() | {"outlines": OUTLINES}
_NOTE = (
    "The part around the structures, in 8 bits. Move with the sliders (arrow keys, Home, End), by a click, or by the "
    "wheel after a click; all panes move together. L and R are the patient's left and right, A front, P back, S head, "
    "I feet."
)


def explorers(audits: Audits, cases: Sequence[tuple[Audit, str, str]]) -> list[Explorer]:
    """One viewer; none where no audit stored a volume.

    Args:
        audits: of the page.
        cases: audit, case and what is said of it, the most telling first.

    Raises:
        InputError: if a stored file is broken.
    """
    read = [(audit, case, said, _crop(audit, case)) for audit, case, said in cases]
    found = [(audit, case, said, crop) for audit, case, said, crop in read if crop is not None][:_CASES]
    if not found:
        return []
    return [
        Explorer(
            _NOTE, [_explored(audits, *each, _VOXELS // len(found)) for each in found], _COLOURS, reference_word(audits)
        )
    ]


def _crop(audit: Audit, case: str) -> Crop | None:
    """What was stored; none of a single slice, which three planes show as two lines."""
    path = audit.slice_of(case)
    crop = None if path is None else read_crop(path)
    return None if crop is None or 1 in crop.arrays["image"].shape else crop


def _explored(audits: Audits, audit: Audit, case: str, said: str, crop: Crop, most: int) -> Explored:
    crop, found = thinned(crop, most), _margins_of(audit, case)
    crop = crop if found is None else with_margins(crop, audit.folder, found)
    volumes, axes = nifti(crop)
    if (step := int(crop.facts["step"].max())) > 1:
        said += f" Of the voxels along an axis one in up to {step} is shown."
    end, probe = visible(crop), showcased(audit)
    scale = short(float(crop.facts["scale"]) * end / 127)
    panes: list[dict[str, Any]] = [
        {"kind": "clean", "caption": "Clean image"},
        {"kind": "attacked", "caption": "Attacked image" + (f", eps {short(probe.eps)}" if probe else "")},
        {
            "kind": "change",
            "caption": f"Difference, \N{MINUS SIGN}{scale} or less (blue) to +{scale} or more (red) input units",
        },
    ]
    if found is not None:
        high = f"{short(float(crop.facts['margin_scale']))} or more ({unit_name(found.unit)})"
        panes.append({"kind": "margin", "caption": f"Voxel margins, 0 (bright) to {high}; cyan: wrong unattacked"})
    title = f"{owner(audits, audit)}{case}"
    return Explored(title, said, volumes, {"axes": axes, "gain": gain(crop), "end": end, "panes": panes})


def _margins_of(audit: Audit, case: str) -> VoxelMap | None:
    """Margins found by attacks, of the set that the pictures show if they are known."""
    probe, sets = showcased(audit), maps_by_set(audit)
    order = sorted(sets, key=lambda kind: probe is None or kind != probe.in_set)
    maps = [shown for kind in order for shown in sets[kind].get(case, []) if shown.method == "attack"]
    return maps[0] if maps else None
