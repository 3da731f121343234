"""Every kind of input: a sound one, which of its files are damaged, and what the command line reads it with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fuzzing import dicom, seeds
from imaseg import load_cases, load_model
from imaseg.auditing import load_plan
from imaseg.cli.main import app
from imaseg.data.files import list_volumes
from imaseg.data.formats.read import read_scan
from imaseg.data.reading import read_volume
from imaseg.results import load
from imaseg.runs.build import build_method
from imaseg.runs.config import load_config


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        make: writes a sound one into a folder.
        read: reads the folder and returns a digest of what it holds.
        files: patterns of the files that are damaged.
        alone: whether a damaged file is read or refused; some commands set its case or picture aside and say so.
        share: of the inputs that a kind gets; kinds that take seconds each get fewer.
    """

    make: Callable[[Path], Any]
    read: Callable[[Path], str]
    files: tuple[str, ...]
    alone: bool = True
    share: float = 1.0


def digest(folder: Path, *parts: Any) -> str:
    """Hash of arrays and of what prints as text, whatever the folder is called."""
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            made.update(f"{part.shape}".encode() + np.ascontiguousarray(part, np.float64).tobytes())
        else:
            made.update(repr(part).replace(str(folder), "").encode(errors="surrogatepass"))
    return made.hexdigest()[:16]


def _scan(folder: Path) -> str:
    (path,) = list_volumes(folder)
    scan = read_scan(path)
    if scan.is_picture:
        read_scan(path, dtype=None, label=True)
    return digest(folder, scan.data, scan.affine)


def _cohort(folder: Path) -> str:
    """As every command reads data."""
    cases = load_cases(folder / "data")
    volumes = [read_volume(case) for case in cases]
    arrays = [array for one in volumes for array in (one.image, one.label, one.affine)]
    return digest(folder, cases.ids, cases.labels, cases.split, cases.modality, *map(_array, arrays))


def _inside(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Into a folder of its own, whose name the ids of cases may hold."""

    def made(folder: Path) -> None:
        (folder / "data").mkdir()
        make(folder / "data")

    return made


def _array(value: Any) -> Any:
    return None if value is None else np.asarray(value)


def _command(*arguments: str, made: str = "") -> Callable[[Path], str]:
    """A command of `imaseg`, in this process; the digest is over its exit code and the files that match `made`."""

    def read(folder: Path) -> str:
        code = app([one.replace("@", f"{folder}/") for one in arguments], standalone_mode=False)
        return digest(folder, code, *(path.read_bytes() for path in sorted(folder.glob(made) if made else ())))

    return read


def _config(folder: Path) -> str:
    settings = load_config(folder / "config.yaml")
    build_method(settings)
    return digest(folder, settings)


def _model(spec: str) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        model = load_model(spec.replace("@", f"{folder}/"))
        state = [tensor.numpy() for tensor in model.network.state_dict().values()]
        return digest(folder, model.card.model_dump(mode="json"), *state)

    return read


def _results(folder: Path) -> str:
    audit = load(folder / "audit")
    return digest(folder, audit.summary, audit.run, audit.table())


_ANALYZE = seeds.nifti(".img", nib.Nifti1Pair)
KINDS = {
    "NIfTI": Kind(seeds.nifti(".nii"), _scan, ("*.nii",)),
    "NIfTI, gzip": Kind(seeds.nifti(".nii.gz"), _scan, ("*.gz",)),
    "NIfTI pair": Kind(_ANALYZE, _scan, ("*.hdr", "*.img")),
    "Analyze": Kind(
        lambda folder: nib.save(nib.Spm99AnalyzeImage(seeds.voxels(), seeds.AFFINE), folder / "x.img"),
        _scan, ("*.hdr", "*.img"),
    ),
    "NRRD": Kind(seeds.itk(".nrrd"), _scan, ("*.nrrd",)),
    "NRRD, gzip": Kind(seeds.itk(".nrrd", packed=True), _scan, ("*.nrrd",)),
    "NHDR": Kind(seeds.itk(".nhdr"), _scan, ("*.nhdr", "*.raw")),
    "MHA": Kind(seeds.itk(".mha"), _scan, ("*.mha",)),
    "MHA, zlib": Kind(seeds.itk(".mha", packed=True), _scan, ("*.mha",)),
    "MHD": Kind(seeds.itk(".mhd"), _scan, ("*.mhd", "*.raw")),
    "PNG": Kind(seeds.picture(".png"), _scan, ("*.png",)),
    "JPEG": Kind(seeds.picture(".jpg"), _scan, ("*.jpg",)),
    "TIFF": Kind(seeds.picture(".tif"), _scan, ("*.tif",)),
    "TIFF, deflate": Kind(seeds.picture(".tif", compression="tiff_adobe_deflate"), _scan, ("*.tif",)),
    "BMP": Kind(seeds.picture(".bmp"), _scan, ("*.bmp",)),
    "GIF": Kind(seeds.picture(".gif"), _scan, ("*.gif",)),
    "PPM": Kind(seeds.picture(".ppm"), _scan, ("*.ppm",)),
    "SEG of 3D Slicer": Kind(_inside(seeds.slicer_pair), _cohort, ("data/labels/*",)),
    "DICOM series": Kind(_inside(dicom.series), _cohort, ("data/*.dcm",)),
    "DICOM SEG": Kind(_inside(dicom.segmented), _cohort, ("data/seg.dcm",)),
    "DICOM RTSTRUCT": Kind(_inside(dicom.contoured), _cohort, ("data/rt.dcm",)),
    "run folder": Kind(seeds.run, _model("@run"), ("run/model.json", "run/weights.safetensors")),
    "nnU-Net model": Kind(
        seeds.nnunet_model, _model("nnunet:@model"), ("model/*.json", "model/fold_0/checkpoint_final.pth")
    ),
    "bundle": Kind(seeds.bundle_model, _model("bundle:@model"), ("model/configs/*", "model/models/*")),
    "SMP model": Kind(
        seeds.smp_model, _model("smp:@model"), ("model/config.json", "model/imaseg.yaml", "model/*.safetensors"),
    ),
    "card": Kind(seeds.card("pt"), _model("@card.yaml"), ("card.yaml",)),
    "state dict": Kind(seeds.card("pt"), _model("@card.yaml"), ("w.pt",)),
    "safetensors": Kind(seeds.card("safetensors"), _model("@card.yaml"), ("w.safetensors",)),
    "doctor": Kind(
        seeds.run, _command("doctor", "@run", "--data", "@data", "--json"), ("run/model.json", "data/*.json")
    ),
    "train --resume": Kind(
        seeds.run, _command("train", "@run/config.yaml", "--data", "@data", "--out", "@run", "--resume"),
        ("run/checkpoint.pt", "run/model.json", "run/*.csv", "data/prepare.json"),
    ),
    "MSD folder": Kind(seeds.msd, _cohort, ("data/*.json",)),
    "nnU-Net raw folder": Kind(seeds.nnunet_raw, _cohort, ("data/*.json",)),
    "prepared folder": Kind(seeds.prepared, _cohort, ("data/*.json",)),
    "recipe": Kind(
        seeds.recipe,
        _command("prepare", "@data", "@out", "--recipe", "@recipe.yaml", "--workers", "1", made="out/*Tr/*"),
        ("recipe.yaml",),
    ),
    "prepare": Kind(
        seeds.msd, _command("prepare", "@data", "@out", "--workers", "1", made="out/*Tr/*"),
        ("data/*.json", "data/*/*"),
        alone=False,
    ),
    "training configuration": Kind(seeds.config, _config, ("config.yaml",)),
    "plan": Kind(seeds.plan, lambda f: digest(f, load_plan(f / "plan.yaml")), ("plan.yaml",)),
    "results": Kind(seeds.audit, _results, ("audit/*.json", "audit/cases/*.json")),
    "report": Kind(
        seeds.audit, _command("report", "@audit", "--out", "@page.html", made="page.html"),
        ("audit/*.json", "audit/cases/*"), alone=False, share=0.1,
    ),
    "comparison": Kind(
        seeds.audit, _command("report", "@audit", "@audit", "--out", "@page.html", made="comparison.csv"),
        ("audit/*.json", "audit/cases/*"), alone=False, share=0.1,
    ),
    "audit --resume": Kind(
        seeds.audit,
        _command(
            "audit", "@run", "@data", "--plan", "@plan.yaml", "--out", "@audit", "--cases", "all", "--resume",
            made="audit/cases.csv",
        ),
        ("audit/*.json", "audit/cases/*", "data/*.json"), alone=False, share=0.1,
    ),
}  # fmt: skip
