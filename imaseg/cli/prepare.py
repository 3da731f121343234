"""`imaseg prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import typer

from imaseg.cli.wrapped import say
from imaseg.data.cohort.notes import OutLayout
from imaseg.data.preparation.kept_tags import TABLE, parse_tags
from imaseg.data.preparation.prepare import prepare as run
from imaseg.data.preparation.prepare import usual_recipe
from imaseg.data.preparation.recipe import Recipe, load_recipe, parse_recipe
from imaseg.data.splitting import Splitting, read_patients
from imaseg.errors import InputError, one_line
from imaseg.progress import bar, counted


def prepare(
    raw: Path,
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
    follow_links: bool = False,
    keep_tags: str | None = None,
) -> int:
    """Prepare a cohort and print which cases were set aside; returns exit code 1 if any was."""
    if layout not in get_args(OutLayout):
        msg = f"layout must be one of {', '.join(get_args(OutLayout))}, got {layout!r}."
        raise InputError(msg)
    if workers is not None and workers < 1:
        msg = f"workers must be at least 1, got {workers}."
        raise InputError(msg)
    tags = [] if keep_tags is None else parse_tags(keep_tags)
    wanted = cast("OutLayout", layout)
    if download:
        from imaseg.data.download import download as fetch

        fetch(raw)
    name = recipe or usual_recipe(raw, wanted)
    steps = load_recipe(name, config)
    steps, people = _with_patients(steps, patients)
    with bar(f"prepare {raw.name}") as tell:
        try:
            summary = run(
                raw,
                out,
                steps,
                progress=tell,
                layout=wanted,
                workers=workers,
                splitting=Splitting(split, seed) if split is not None else None,
                patients=people,
                follow_links=follow_links,
                keep_tags=tags,
            )
        except OSError as error:
            what = f"{error.filename or out} must be readable and, if in OUT, writable"
            msg = f"{what}, got: {error.strerror or error}. Finished cases are kept: correct this and run again."
            raise InputError(msg) from error
        except MemoryError as error:
            msg = "workers must be few enough for the memory, got none left. Finished cases are kept: try --workers 1."
            raise InputError(msg) from error
    for case, reasons in summary.quarantined.items():
        say(one_line(f"quarantined {case}: {' '.join(reasons)}"))
    for case, flags in summary.flagged.items():
        say(one_line(f"flagged {case}: {' '.join(flags)}"))
    kept, aside, flagged = (len(group) for group in (summary.kept, summary.quarantined, summary.flagged))
    say(f"{counted(kept, 'case')} prepared, {aside} quarantined, {flagged} flagged.")
    for remark in (*summary.remarks, summary.files.summary()):
        say(one_line(remark))
    if recipe is None:
        say(f"Prepared by the recipe {name}, since none was named (--recipe; prepare.json holds its keys).")
    for file in ("prepare.html", "prepare.json", *([TABLE] if tags else [])):
        typer.echo(f"Created {out / file}")
    return 1 if summary.quarantined else 0


def _with_patients(recipe: Recipe, patients: str | None) -> tuple[Recipe, dict[str, str] | None]:
    """The recipe with a pattern that finds patients in ids, or the patients that a CSV file names."""
    if patients is None:
        return recipe, None
    if patients.lower().endswith(".csv"):
        return recipe, read_patients(Path(patients))
    return parse_recipe(recipe.model_dump(mode="json") | {"patient": patients}, source="--patients"), None
