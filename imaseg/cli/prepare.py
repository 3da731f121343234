"""`imaseg prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import typer

from imaseg.data.cohort.notes import OutLayout
from imaseg.data.preparation.prepare import prepare as run
from imaseg.data.preparation.prepare import usual_recipe
from imaseg.data.preparation.recipe import Recipe, load_recipe, parse_recipe
from imaseg.data.splitting import Splitting, read_patients
from imaseg.errors import InputError
from imaseg.progress import bar


def prepare(
    source: Path,
    out: Path,
    *,
    recipe: str | None,
    config: Path | None,
    layout: str,
    workers: int | None,
    download: bool,
    split: str | None = None,
    patients: str | None = None,
    seed: int = 0,
) -> int:
    """Prepare a cohort and print which cases were set aside; returns exit code 1 if any was."""
    if layout not in get_args(OutLayout):
        msg = f"layout must be one of {', '.join(get_args(OutLayout))}, got {layout!r}."
        raise InputError(msg)
    if workers is not None and workers < 1:
        msg = f"workers must be at least 1, got {workers}."
        raise InputError(msg)
    wanted = cast("OutLayout", layout)
    if download:
        from imaseg.data.download import download as fetch

        fetch(source)
    name = recipe or usual_recipe(source, wanted)
    steps = load_recipe(name, config)
    steps, people = _with_patients(steps, patients)
    with bar(f"prepare {source.name}") as tell:
        try:
            summary = run(
                source,
                out,
                steps,
                progress=tell,
                layout=wanted,
                workers=workers,
                splitting=Splitting(split, seed) if split is not None else None,
                patients=people,
            )
        except OSError as error:
            what = f"{error.filename or out} must be readable and, if in OUT, writable"
            msg = f"{what}, got: {error.strerror or error}. Finished cases are kept: correct this and run again."
            raise InputError(msg) from error
        except MemoryError as error:
            msg = "workers must be few enough for the memory, got none left. Finished cases are kept: try --workers 1."
            raise InputError(msg) from error
    for case, reasons in summary.quarantined.items():
        typer.echo(_printable(f"quarantined {case}: {' '.join(reasons)}"))
    for case, flags in summary.flagged.items():
        typer.echo(_printable(f"flagged {case}: {' '.join(flags)}"))
    typer.echo(
        f"{len(summary.kept)} cases prepared, {len(summary.quarantined)} quarantined, {len(summary.flagged)} flagged."
    )
    for remark in (*summary.remarks, summary.files.summary()):
        typer.echo(_printable(remark))
    if recipe is None:
        typer.echo(f"Recipe {name}, since none was named.")
    for file in ("prepare.html", "prepare.json"):
        typer.echo(f"Created {out / file}")
    return 1 if summary.quarantined else 0


def _with_patients(recipe: Recipe, patients: str | None) -> tuple[Recipe, dict[str, str] | None]:
    """The recipe with a pattern that finds patients in ids, or the patients that a CSV file names."""
    if patients is None:
        return recipe, None
    if patients.lower().endswith(".csv"):
        return recipe, read_patients(Path(patients))
    return parse_recipe(recipe.model_dump(mode="json") | {"patient": patients}, source="--patients"), None


def _printable(text: str) -> str:
    """Escape bytes that are not text, which names of files may hold."""
    return text.encode("utf-8", "backslashreplace").decode()
