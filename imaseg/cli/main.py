"""`imaseg COMMAND`: the commands, and what their exit codes mean.

0 done; 1 finished, but some cases failed (they are listed); 2 wrong usage or input (one line, no traceback).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer

from imaseg.cli.nnunet import nnunet
from imaseg.errors import InputError

app = typer.Typer(
    name="imaseg",
    help="Make medical image segmenters robust, and measure how robust they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(nnunet, name="nnunet")

Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run code that comes with the checkpoint or the plan.")]
Model = Annotated[
    str,
    typer.Argument(
        help="Folder that `imaseg train` wrote, nnunet:DIR[@FOLD], bundle:DIR, smp:DIR, torchscript:FILE, "
        "python:module:factory, or a card (.yaml) of bare weights; docs/models.md."
    ),
]
Data = Annotated[Path, typer.Argument(help="Folder with cases, prepared or raw.")]
Cases = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--cases", help="all, a split (train, val), or ids with commas; those held out if not given."),
]


def run() -> None:
    """Entry point: a warning becomes one line on stderr, and so does an `InputError`, which exits with 2."""
    warnings.formatwarning = _one_line
    warnings.filterwarnings("ignore", module=r"(monai|torch|ignite|tensorboard)\b.*")
    try:
        app(standalone_mode=True)
    except InputError as error:
        typer.echo(f"imaseg: {error}", err=True)
        sys.exit(2)


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"imaseg: {message}\n"


@contextmanager
def stoppable(how: str) -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        typer.echo(f"imaseg: stopped. Finished work is kept; {how} goes on.", err=True)
        raise typer.Exit(130) from stop


@app.command()
def demo(out: Out = Path("imaseg-demo")) -> None:
    """Phantom cohort -> prepare -> train two models -> audit both -> report.html. A few minutes on two cores."""
    from imaseg.demo import demo as run_demo

    with stoppable("the same command"):
        run_demo(out)


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder with images and labels, as received.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    recipe: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--recipe", help="`imaseg list recipes`, or a YAML file; else msd, or 2d for pictures."),
    ] = None,
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--config", help="YAML file whose keys take the place of the recipe's."),
    ] = None,
    layout: Annotated[str, typer.Option("--layout", help="Of OUT: msd, or nnunet (raw folder).")] = "msd",
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--workers", help="Processes, each with one case in memory; else as many as are worth it."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch SOURCE first where MONAI can (MSD).")] = False,
) -> None:
    """Check and prepare a cohort (NIfTI, MetaImage, NRRD, DICOM, pictures); bad cases are set aside with the reason."""
    from imaseg.cli.prepare import prepare as run_prepare

    with stoppable("the same command"):
        raise typer.Exit(
            run_prepare(source, out, recipe=recipe, config=config, layout=layout, workers=workers, download=download)
        )


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file; `configs/` holds examples.")],
    data: Annotated[Path, typer.Option("--data", help="Folder that `imaseg prepare` wrote.")],
    out: Out,
    overrides: Annotated[Optional[list[str]], typer.Argument(help="key=value, e.g. epochs=5 method.steps=4")] = None,  # noqa: UP045
    resume: Resume = False,
) -> None:
    """Train a segmenter: standard, PGD, TRADES or IMA. A checkpoint after every epoch; --resume goes on exactly."""
    from imaseg.cli.train import train as run_train

    with stoppable("the same command with --resume"):
        run_train(config, data, out, overrides or [], resume=resume)


@app.command()
def audit(
    model: Model,
    data: Data,
    out: Out,
    plan: Annotated[str, typer.Option("--plan", help="quick, standard, thorough, or a YAML file.")] = "quick",
    cases: Cases = None,
    fail_below: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--fail-below",
            help="METRIC@PROBE-EPS=VALUE, repeatable, e.g. dice@linf-0.05=0.6, dice@clean=0.8 or margin@l2=0.05: "
            "exit with 1 if it is lower.",
        ),
    ] = None,
    resume: Resume = False,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Attack a checkpoint over a ladder of budgets, measure margins, write tables and a page."""
    from imaseg.auditing import load_plan
    from imaseg.auditing.validity.gate import parse_gates
    from imaseg.cli.audit import audit as run_audit

    settings = load_plan(plan, trust=trust)
    gates = parse_gates(fail_below or (), settings)
    with stoppable("the same command with --resume"):
        raise typer.Exit(
            run_audit(model, data, out, settings, cases=cases, resume=resume, device=device, trust=trust, gates=gates)
        )


@app.command()
def attack(
    model: Model,
    data: Data,
    out: Out,
    eps: Annotated[float, typer.Option("--eps", help="Budget.")],
    name: Annotated[str, typer.Option("--attack", help="A search or a preset; `imaseg list attacks`.")] = "pgd",
    norm: Annotated[str, typer.Option("--norm", help="What may change; `imaseg list perturbations`.")] = "l2",
    unit: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--unit",
            help="std, native (HU ...) or range (l2, linf); norm or rms (l2); mm (deformation); else the set's own.",
        ),
    ] = None,
    steps: Annotated[Optional[int], typer.Option("--steps", help="Length; else the attack's own.")] = None,  # noqa: UP045
    objective: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--objective", help="What is maximised; `imaseg list objectives`; else the attack's own."),
    ] = None,
    restarts: Annotated[Optional[int], typer.Option("--restarts", help="Worst of so many searches.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option("--seed", help="Of every random number.")] = 0,
    cases: Cases = None,
    resume: Resume = False,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Attack cases and write adversarial NIfTI files; the Dice is taken again from the file as written."""
    from imaseg.auditing.shortcuts import attack_plan
    from imaseg.cli.audit import audit as run_audit

    plan = attack_plan(name, norm, eps, unit=unit, steps=steps, objective=objective, restarts=restarts, seed=seed)
    with stoppable("the same command with --resume"):
        raise typer.Exit(run_audit(model, data, out, plan, cases=cases, resume=resume, device=device, trust=trust))


@app.command()
def margin(
    model: Model,
    data: Data,
    out: Out,
    perturbation: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--perturbation",
            help="NAME, NAME:EPS or NAME:EPS:UNIT, repeatable: what may change, and how far at most; "
            "if not given: l2, linf, bias-field, gamma and deformation.",
        ),
    ] = None,
    criterion: Annotated[str, typer.Option("--criterion", help="dice-below or voxels-flipped.")] = "dice-below",
    threshold: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--threshold", help="Dice below which a case is broken; 0.5 if not given."),
    ] = None,
    relative: Annotated[bool, typer.Option("--relative", help="Threshold as a share of the clean Dice.")] = False,
    fraction: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--fraction", help="Share of the right voxels that may flip; 0.1 if not given."),
    ] = None,
    voxel: Annotated[
        bool,
        typer.Option(
            "--voxel", help="Also a margin per voxel, as NIfTI maps (minutes each); of l2 and linf if no set is named."
        ),
    ] = False,
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--method", help="Of voxel margins: attack, gradient (cheap estimate) or both."),
    ] = None,
    focus: Annotated[
        int, typer.Option("--focus", help="Groups of voxels attacked one by one per map; 0 is quick and coarse.")
    ] = 1000,
    certify: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--certify", help="Also certified radii under Gaussian noise of this size (input units)."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="Noisy copies per case for --certify.")] = 100,
    steps: Annotated[int, typer.Option("--steps", help="Length of each attack.")] = 20,
    rtol: Annotated[float, typer.Option("--rtol", help="Relative tolerance of a margin.")] = 0.05,
    seed: Annotated[int, typer.Option("--seed", help="Of every random number.")] = 0,
    cases: Cases = None,
    resume: Resume = False,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """How far each case, structure and voxel is from breaking: tables, NIfTI maps and a page."""
    from imaseg.auditing.shortcuts import criterion_of, margin_plan, voxel_methods
    from imaseg.cli.audit import audit as run_audit

    plan = margin_plan(
        perturbation,
        criterion=criterion_of(criterion, threshold=threshold, relative=relative, fraction=fraction),
        steps=steps,
        rtol=rtol,
        methods=voxel_methods(method, wanted=voxel),
        focus=focus,
        certify=certify,
        samples=samples,
        seed=seed,
    )
    with stoppable("the same command with --resume"):
        raise typer.Exit(run_audit(model, data, out, plan, cases=cases, resume=resume, device=device, trust=trust))


@app.command(name="list")
def list_names(
    kind: Annotated[
        str,
        typer.Argument(help="attacks, objectives, perturbations, corruptions, probes, criteria, methods or recipes."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, for scripts.")] = False,
) -> None:
    """What there is to choose from, with settings and sources."""
    from imaseg.cli.listing import show

    show(kind, as_json=as_json)


@app.command()
def doctor(
    model: Annotated[Optional[str], typer.Argument(help="As for `audit`; this machine if not given.")] = None,  # noqa: UP045
    data: Annotated[Optional[Path], typer.Option("--data", help="Folder with cases to try the model on.")] = None,  # noqa: UP045
    cases: Cases = None,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="An object, for scripts.")] = False,
) -> None:
    """What is installed, what is broken, what to type; of a model: what it is and whether data fit it."""
    from imaseg.cli.doctor import doctor_here, doctor_model

    if model is None:
        raise typer.Exit(doctor_here(as_json=as_json))
    raise typer.Exit(doctor_model(model, data, cases=cases, trust=trust, as_json=as_json))


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Audit folders; the first is the reference.")],
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")],
) -> None:
    """One page for one audit, or for several side by side with comparison.csv, their differences case by case."""
    from imaseg.report import write_report
    from imaseg.report.comparison import write_comparison

    typer.echo(f"Created {write_report(folders, out)}")
    if len(folders) > 1:
        typer.echo(f"Created {write_comparison(folders, out.with_name('comparison.csv'))}")


@app.command()
def schema(
    file: Annotated[str, typer.Argument(help="summary, run or case.")] = "summary",
) -> None:
    """JSON Schema of summary.json, run.json or cases/<id>.json of an audit folder."""
    import json

    from imaseg.auditing import Plan  # noqa: F401  which brings the kinds of rows along
    from imaseg.results.schema import FILES, json_schema

    if file not in FILES:
        msg = f"schema must be one of {', '.join(FILES)}, got {file!r}."
        raise InputError(msg)
    typer.echo(json.dumps(json_schema(file), indent=1))
