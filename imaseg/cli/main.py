"""`imaseg COMMAND`: defines the commands and their exit codes.

0 done; 1 finished, but some cases failed (they are listed); 2 wrong usage or input, or an output that cannot be written
(one line, no traceback); 129, 130 and 143 stopped by SIGHUP, Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer import Argument, Context, Option

from imaseg import progress
from imaseg.cli.nnunet import nnunet
from imaseg.cli.stopping import end_on_signals, told_when_stopped
from imaseg.cli.wrapped import note, say
from imaseg.errors import InputError, one_line

if TYPE_CHECKING:
    from imaseg.auditing import Plan

app = typer.Typer(
    name="imaseg",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # the default reads brackets such as [@FOLD] as markup and drops them
    pretty_exceptions_enable=False,
)

app.add_typer(nnunet, name="nnunet")

Out = Annotated[Path, Option(help="Folder to write the results to.")]
DryRun = Annotated[
    bool,
    Option("--dry-run", help="Say what would be done, how long it would take and what would be written, and stop."),
]
Resume = Annotated[bool, Option("--resume", help="Continue an interrupted run in the output folder.")]
Device = Annotated[str, Option(help="Device to run on: auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    str,
    Option(
        help="What searches take their gradients in: auto, float32, bfloat16 or float16. All numbers are computed in "
        "float32; auto takes half precision where it is faster and leads the same way."
    ),
]
Trust = Annotated[
    bool, Option("--trust", help="Allow code that comes with the checkpoint or the plan to run on this machine.")
]
Model = Annotated[
    str,
    Argument(
        help="Model to load: a folder that `imaseg train` wrote, nnunet:DIR[@FOLD], bundle:DIR, smp:DIR, "
        "torchscript:FILE, python:module:factory, or the card (.yaml) of a weights file. See docs/models.md."
    ),
]
Data = Annotated[Path, Argument(help="Folder with the cases, prepared by `imaseg prepare` or raw.")]
Cases = Annotated[
    str | None,
    Option(
        help="Cases to use: all, a split (train or val), ids separated by commas, @FILE with one id a line, or "
        "every:12 for each twelfth of the default (default: the cases held out of training). An id is the name of the "
        "image file without its format's ending; `imaseg doctor MODEL --data DATA --json` lists them."
    ),
]
FollowLinks = Annotated[
    bool,
    Option(
        "--follow-links",
        help="Follow symbolic links out of the data folder, of files that dataset.json lists and of voxel files beside "
        ".mhd and .nhdr headers.",
    ),
]
Within = Annotated[
    str | None,
    Option(
        help='Let only what lies so near to a labelled structure change, such as "20 mm"; an RMS is then over these '
        "voxels (default: the whole image)."
    ),
]
From = Annotated[
    str | None,
    Option(
        "--from",
        help="Another model, as MODEL, of the same input: adversarial images are made on it and judged on MODEL.",
    ),
]
_REFERENCE = (
    "What predictions are compared with: label, or prediction, the model's own of the unchanged image, which needs no "
    "labels and says how stable predictions are, not how right"
)
Reference = Annotated[str, Option(help=f"{_REFERENCE}.")]
PlansReference = Annotated[str | None, Option(help=f"{_REFERENCE} (default: as the plan says).")]
Imports = Annotated[
    list[Path] | None, Option(help="Python file that the audits' plans imported; needs --trust. Repeatable.")
]
Seed = Annotated[int, Option(help="Seed of all random numbers.")]


_PRINT_ONLY = ("config", "list", "schema")
"""Commands that write nothing and load no network."""


def run() -> None:
    """Entry point: prints each warning and each `InputError` as one line on stderr; an `InputError` exits with 2.

    SIGTERM, as a job scheduler sends it, ends a command as Ctrl-C does, with 143; SIGHUP, of a closed terminal, too.
    """
    warnings.formatwarning = _one_line
    warnings.filterwarnings("ignore", module=r"(monai|torch|ignite|tensorboard|pydicom)\b.*")
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)  # it misses an optional part
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it would say once more why a training ends
    threading.excepthook = _of_thread
    end_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be bytes that are no text
        with suppress(OSError):  # it is not what it was when Python began
            sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with told_when_stopped("stopped."):
            try:
                _require_words(sys.argv[1:])
                app(standalone_mode=True)
            finally:
                sys.stdout.flush()
    except InputError as error:
        _refuse(str(error))
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except OSError as error:  # of a library that writes by itself, or of stdout
        what = error.filename or "the output"
        _refuse(f"{what} must be readable and writable, got {error.strerror or error}. Correct this and run it again.")


def _require_temporary_folder() -> None:
    """Refuse to begin where torch could not be loaded: its compiler looks for one, and says something else."""
    try:
        tempfile.gettempdir()
    except OSError:
        folders = ", ".join(dict.fromkeys(filter(None, (os.environ.get("TMPDIR"), "/tmp", "/var/tmp"))))
        msg = (
            f"a temporary folder must be writable, got none among {folders}. Free some space there, or set TMPDIR to a "
            "folder that has some."
        )
        raise InputError(msg) from None


def _require_words(arguments: Sequence[str]) -> None:
    """Refuse what no system takes as the name of a file; names that are too long are refused where they are used."""
    for word in arguments:
        try:
            fit = b"\0" not in os.fsencode(word)
        except UnicodeEncodeError:
            fit = False
        if not fit:
            msg = f"arguments must be text without null bytes and halves of characters, got {word!r:.300}. Correct it."
            raise InputError(msg)


def _of_thread(failed: threading.ExceptHookArgs) -> None:
    """Say nothing of a thread that cannot write (TensorBoard's): the main thread gets the same error."""
    if failed.exc_type is None or not issubclass(failed.exc_type, OSError):
        threading.__excepthook__(failed)


def _refuse(text: str) -> NoReturn:
    try:
        say(one_line(f"imaseg: {text}"), err=True)
    finally:
        _drop_output()
        sys.exit(2)


def _drop_output() -> None:
    """Forget what stdout still holds, if it cannot be written: Python would complain of it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"imaseg: {one_line(' '.join(str(message).split()))}\n"


@contextmanager
def stoppable(how: str = "the same command with --resume") -> Iterator[None]:
    """Context that tells the user after Ctrl-C, SIGTERM or SIGHUP how to continue the command."""
    with told_when_stopped(f"stopped. Finished work is kept; {how} goes on."):
        yield


def _print_version(wanted: bool) -> None:
    if wanted:
        from imaseg.version import __version__

        typer.echo(f"imaseg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: Context,
    version: Annotated[  # noqa: ARG001
        bool, Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[
        bool,
        Option(
            "--verbose",
            "-v",
            help="Print warnings and notes of libraries too, and why a case failed with the place in code.",
        ),
    ] = False,
    threads: Annotated[
        int | None,
        Option(
            min=1, max=1024, help="Number of CPU threads (default: as many as may be used, or 1 where that is as fast)."
        ),
    ] = None,
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="Print results and errors only: no progress, no notes.")
    ] = False,
) -> None:
    """Make medical image segmenters robust, and measure how robust they are."""
    progress.QUIET = quiet
    if context.invoked_subcommand not in _PRINT_ONLY:
        _require_temporary_folder()
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        warnings.resetwarnings()
    if threads is not None:
        from imaseg.models import threads as choice

        choice.WANTED = threads


@app.command()
def demo(
    out: Out = Path("imaseg-demo"),
    show: Annotated[bool, Option("--open", help="Open the page in a browser at the end.")] = False,
) -> None:
    """Run the whole workflow on synthetic data: prepare, train two models, audit both, write report.html.

    Takes a few minutes on two cores.
    """
    note("A phantom cohort, two trainings, two audits, a page: two to three minutes on two cores.")
    from imaseg.demo import demo as run_demo

    with stoppable("the same command"):
        page = run_demo(out)
    if show:
        typer.launch(page.resolve().as_uri())


@app.command()
def prepare(
    source: Annotated[Path, Argument(help="Folder with images and labels, as received. It is only read.")],
    out: Annotated[Path, Argument(help="Folder to write the prepared cases to.")],
    recipe: Annotated[
        str | None,
        Option(
            help="Preparation steps: a name from `imaseg list recipes` or a YAML file "
            "(default: msd, or 2d for pictures)."
        ),
    ] = None,
    config: Annotated[Path | None, Option(help="YAML file whose keys override those of the recipe.")] = None,
    layout: Annotated[str, Option(help="File layout of OUT: msd, or nnunet for an nnU-Net raw folder.")] = "msd",
    workers: Annotated[
        int | None,
        Option(help="Number of processes, each with one case in memory (default: chosen from the sizes of the files)."),
    ] = None,
    download: Annotated[
        bool, Option("--download", help="Download SOURCE first, if it is named after a data set of MSD.")
    ] = False,
    split: Annotated[
        str | None,
        Option(
            help="Split the cases by patient: the share to train on (0.8), 5-fold, or 5-fold:2 for its third fold "
            "(default: the split of SOURCE, if it has one).",
        ),
    ] = None,
    patients: Annotated[
        str | None,
        Option(
            help="Who the patient of a case is: a .csv file with the columns case and patient, or a regular expression "
            "that finds the patient in the id of a case.",
        ),
    ] = None,
    keep_tags: Annotated[
        str | None,
        Option(
            help="DICOM attributes to write to OUT/groups.csv, which `imaseg audit --groups` reads: keywords with "
            "commas, such as Manufacturer,MagneticFieldStrength. What may identify a patient is refused.",
        ),
    ] = None,
    seed: Seed = 0,
    follow_links: FollowLinks = False,
) -> None:
    """Check and prepare a cohort (NIfTI, MetaImage, NRRD, DICOM, pictures).

    Cases that cannot be used are set aside and listed with the reason.
    """
    from imaseg.cli.prepare import prepare as run_prepare

    with stoppable("the same command"):
        raise typer.Exit(
            run_prepare(
                source,
                out,
                recipe=recipe,
                config=config,
                layout=layout,
                workers=workers,
                download=download,
                split=split,
                patients=patients,
                seed=seed,
                follow_links=follow_links,
                keep_tags=keep_tags,
            )
        )


@app.command()
def train(
    config: Annotated[Path, Argument(help="YAML file with the training settings; `configs/` holds examples.")],
    data: Annotated[Path, Option(help="Folder that `imaseg prepare` wrote.")],
    out: Out,
    overrides: Annotated[
        list[str] | None, Argument(help="Settings to override as key=value, e.g. epochs=5 method.steps=4.")
    ] = None,
    resume: Resume = False,
    device: Annotated[
        str | None, Option(help="Device to run on: auto, cpu, cuda or cuda:N (default: that of CONFIG).")
    ] = None,
    seed: Annotated[int | None, Option(help="Seed of all random numbers (default: that of CONFIG).")] = None,
    workers: Annotated[int | None, Option(help="Number of processes that load data (default: that of CONFIG).")] = None,
    dry_run: DryRun = False,
    follow_links: FollowLinks = False,
) -> None:
    """Train a segmenter by any method of `imaseg list methods`, such as standard, PGD, TRADES or IMA.

    A checkpoint is written after every epoch; --resume continues from the last one.
    """
    from imaseg.ranks import rank
    from imaseg.runs import load_config
    from imaseg.runs import train as run_train

    with stoppable():
        options = {"device": device, "seed": seed, "workers": workers}
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        settings = load_config(config, [*(overrides or []), *given])
        how: dict[str, Any] = {"resume": resume, "dry_run": dry_run, "follow_links": follow_links}
        run_train(settings, data, out, announce=say if dry_run else note, **how)
    if dry_run:
        made = "weights.safetensors, checkpoint.pt, metrics.csv, tensorboard/, and margins.csv of IMA"
        say(f"Nothing was run. It would write to {out}: {made}.")
    if dry_run or rank() > 0:
        return
    for pattern in ("weights.safetensors", "metrics.csv", "margin*.csv"):
        for path in sorted(out.glob(pattern)):
            typer.echo(f"Created {path}")


@app.command()
def audit(
    model: Model,
    data: Data,
    out: Out,
    plan: Annotated[str, Option(help="What to measure: quick, standard, thorough, or a YAML file.")] = "quick",
    cases: Cases = None,
    fail_below: Annotated[
        list[str] | None,
        Option(
            help="Exit with code 1 if a result is below a value. Form: METRIC@PROBE-EPS=VALUE, "
            "e.g. dice@linf-0.05=0.6, dice@clean=0.8 or margin@l2=0.05. Repeatable."
        ),
    ] = None,
    allow_invalid: Annotated[
        bool,
        Option(
            "--allow-invalid",
            help="Judge an audit that calls itself invalid by its numbers (else: code 3, and no gate passes).",
        ),
    ] = False,
    reference: PlansReference = None,
    groups: Annotated[
        Path | None,
        Option(help="CSV file with the column case and others (site, scanner, sex, age): results by their values."),
    ] = None,
    instances: Annotated[
        list[int] | None,
        Option(
            min=1,
            help="Structure, by its number, that is counted instance by instance, such as lesions. Repeatable; "
            "settings stand in a plan (see docs/metrics.md).",
        ),
    ] = None,
    made_on: From = None,
    budget: Annotated[
        str | None,
        Option(help="Time that it may take, such as 2h or 90min: what is of least worth is left out, and named."),
    ] = None,
    resume: Resume = False,
    device: Device = "auto",
    precision: Precision = "auto",
    trust: Trust = False,
    dry_run: DryRun = False,
    follow_links: FollowLinks = False,
) -> None:
    """Audit how robust a model is and write tables and a page.

    A plan says what is measured: attacks at rising budgets, margins, corruptions and more.
    """
    from imaseg.auditing import load_plan
    from imaseg.auditing.engine.shortened import seconds_in
    from imaseg.auditing.validity.gate import parse_gates

    settings = load_plan(plan, trust=trust).against(reference)
    settings = settings.counting(instances) if instances else settings
    gates = parse_gates(fail_below or (), settings)
    how: dict[str, Any] = {"cases": cases, "resume": resume, "device": device, "trust": trust, "dry_run": dry_run}
    how |= {"follow_links": follow_links, "gates": gates, "judged": True, "allow_invalid": allow_invalid}
    how["precision"] = precision
    how |= {"attacker": made_on, "groups": groups, "budget": None if budget is None else seconds_in(budget)}
    _run_plan(model, data, out, settings, **how)


@app.command()
def attack(
    model: Model,
    data: Data,
    out: Out,
    name: Annotated[str, Option("--attack", help="Attack to run; see `imaseg list attacks`, or universal.")] = "pgd",
    perturbation: Annotated[
        str,
        Option(
            "--perturbation",
            "--norm",
            help="What may change, and how much, as NAME:EPS or NAME:EPS:UNIT, as of `imaseg margin`; or NAME, next to "
            "--eps. Names: see `imaseg list perturbations`.",
        ),
    ] = "l2",
    eps: Annotated[
        float | None, Option(help="Budget: the largest size of the perturbation, if --perturbation does not hold it.")
    ] = None,
    unit: Annotated[
        str | None,
        Option(
            help="Unit of the budget, if --perturbation does not hold it: std, native (HU ...) or range for l2 and "
            "linf; norm or rms for l2; mm for deformation (default: the set's own)."
        ),
    ] = None,
    within: Within = None,
    reference: Reference = "label",
    made_on: From = None,
    steps: Annotated[int | None, Option(help="Number of steps (default: the attack's own).")] = None,
    objective: Annotated[
        str | None,
        Option(help="Loss that the attack maximises; see `imaseg list objectives` (default: the attack's own)."),
    ] = None,
    restarts: Annotated[int | None, Option(help="Number of random restarts; the worst result counts.")] = None,
    seed: Seed = 0,
    cases: Cases = None,
    resume: Resume = False,
    device: Device = "auto",
    precision: Precision = "auto",
    trust: Trust = False,
    dry_run: DryRun = False,
    follow_links: FollowLinks = False,
) -> None:
    """Attack cases and write the adversarial images as NIfTI files.

    Each file is read back and scored again, so that the Dice reported is that of the file. Of `universal`, one change
    for all cases, only the pattern is written.
    """
    from imaseg.auditing.shortcuts import attack_plan, budget_of

    norm, eps, unit = budget_of(perturbation, eps, unit)
    search: dict[str, Any] = {"steps": steps, "objective": objective, "restarts": restarts, "seed": seed}
    plan = attack_plan(name, norm, eps, unit=unit, within=within, transferred=made_on is not None, **search)
    how: dict[str, Any] = {"cases": cases, "resume": resume, "device": device, "trust": trust, "dry_run": dry_run}
    how |= {"follow_links": follow_links, "attacker": made_on, "precision": precision}
    _run_plan(model, data, out, plan.against(reference), **how)


@app.command()
def margin(
    model: Model,
    data: Data,
    out: Out,
    perturbation: Annotated[
        list[str] | None,
        Option(
            help="What may change, and the largest budget to search, as NAME, NAME:EPS or NAME:EPS:UNIT, such as "
            "linf:20:native. Units: std, native (HU ...) or range for l2 and linf; norm or rms for l2; mm for "
            "deformation. Repeatable (default: l2, linf, bias-field, gamma and deformation)."
        ),
    ] = None,
    within: Within = None,
    reference: Reference = "label",
    criterion: Annotated[
        str, Option(help="When a case counts as broken: dice-below or voxels-flipped.")
    ] = "dice-below",
    threshold: Annotated[float | None, Option(help="Dice below which a case counts as broken (default: 0.5).")] = None,
    relative: Annotated[
        bool, Option("--relative", help="Read --threshold as a share of each case's clean Dice.")
    ] = False,
    fraction: Annotated[
        float | None,
        Option(help="For voxels-flipped: share of the correct voxels that may become wrong (default: 0.1)."),
    ] = None,
    voxel: Annotated[
        bool,
        Option(
            "--voxel",
            help="Also measure a margin per voxel and write it as NIfTI maps, which takes minutes per map "
            "(sets: those of --perturbation; default: l2 and linf).",
        ),
    ] = False,
    method: Annotated[
        str | None,
        Option(help="How voxel margins are measured: attack, gradient (a cheap estimate) or both (default: both)."),
    ] = None,
    focus: Annotated[
        int, Option(help="Number of voxel groups attacked one by one per map; 0 is quick and coarse.")
    ] = 1000,
    certify: Annotated[
        float | None,
        Option(
            help="Also compute certified radii by randomised smoothing with Gaussian noise of this standard deviation, "
            "in units of the model's input."
        ),
    ] = None,
    samples: Annotated[int, Option(help="Number of noisy copies per case for --certify.")] = 100,
    steps: Annotated[int, Option(help="Number of steps of each attack.")] = 20,
    rtol: Annotated[float, Option(help="Relative tolerance of each margin.")] = 0.05,
    seed: Seed = 0,
    cases: Cases = None,
    resume: Resume = False,
    device: Device = "auto",
    precision: Precision = "auto",
    trust: Trust = False,
    dry_run: DryRun = False,
    follow_links: FollowLinks = False,
) -> None:
    """Measure margins: the smallest change that breaks each case, structure and voxel.

    Writes tables, a page and, with --voxel or --certify, NIfTI maps.
    """
    from imaseg.auditing.shortcuts import criterion_of, margin_plan, voxel_methods

    plan = margin_plan(
        perturbation,
        within=within,
        criterion=criterion_of(criterion, threshold=threshold, relative=relative, fraction=fraction),
        steps=steps,
        rtol=rtol,
        methods=voxel_methods(method, wanted=voxel),
        focus=focus,
        certify=certify,
        samples=samples,
        seed=seed,
    )
    how: dict[str, Any] = {"cases": cases, "resume": resume, "device": device, "trust": trust, "dry_run": dry_run}
    how |= {"follow_links": follow_links, "precision": precision}
    _run_plan(model, data, out, plan.against(reference), **how)


def _run_plan(model: str, data: Path, out: Path, plan: Plan, **how: Any) -> None:
    from imaseg.cli.audit import audit as run_audit

    with stoppable():
        raise typer.Exit(run_audit(model, data, out, plan, **how))


@app.command(name="list")
def list_names(
    kind: Annotated[
        str,
        Argument(
            help="What to list: attacks, objectives, perturbations, corruptions, probes, criteria, methods or recipes."
        ),
    ],
    as_json: Annotated[bool, Option("--json", help="Print a JSON list, for scripts.")] = False,
) -> None:
    """List what is available by name, with settings and sources."""
    from imaseg.cli.listing import show

    show(kind, as_json=as_json)


@app.command()
def doctor(
    model: Annotated[
        str | None,
        Argument(help="Model to examine, given as for `imaseg audit` (default: check this installation)."),
    ] = None,
    data: Annotated[Path | None, Option(help="Folder with cases to try the model on.")] = None,
    cases: Cases = None,
    reference: Reference = "label",
    verify: Annotated[
        bool,
        Option(
            "--verify",
            help="Predict the first case once more with the model's own software (nnU-Net's predictor, a bundle's "
            "transforms and inferer, SMP's preprocess_input) and compare, voxel by voxel.",
        ),
    ] = False,
    trust: Trust = False,
    follow_links: FollowLinks = False,
    as_json: Annotated[bool, Option("--json", help="Print a JSON object, for scripts.")] = False,
) -> None:
    """Check the installation or, given a model, what it is and whether data fit it; suggest the next command."""
    from imaseg.cli.doctor import doctor_here, doctor_model

    if model is None:
        raise typer.Exit(doctor_here(as_json=as_json))
    from imaseg.auditing.inputs.reference import parse_reference

    how: dict[str, Any] = {"cases": cases, "verify": verify, "trust": trust, "follow_links": follow_links}
    raise typer.Exit(doctor_model(model, data, as_json=as_json, reference=parse_reference(reference), **how))


@app.command()
def report(
    folders: Annotated[list[Path], Argument(help="Folders that `imaseg audit` wrote; the first one is the reference.")],
    out: Annotated[Path, Option(help="HTML file to write.")],
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Write one HTML page for one or several audits.

    Several audits are shown side by side, and comparison.csv holds their differences, paired by case. Of one model on
    two data sets the page says how far these are apart, in severities of corruptions.
    """
    from imaseg.plugins import import_trusted
    from imaseg.report import write_report
    from imaseg.report.audits import read_audits
    from imaseg.report.cohorts import lines
    from imaseg.report.differences import write_comparison

    import_trusted(imports or (), trust=trust)
    typer.echo(f"Created {write_report(folders, out)}")
    if len(folders) > 1:
        typer.echo(f"Created {write_comparison(folders, out.with_name('comparison.csv'))}")
        for line in lines(read_audits(folders)):
            typer.echo(line)


@app.command()
def evidence(
    folders: Annotated[list[Path], Argument(help="Audit folders.")],
    out: Annotated[Path, Option(help="Markdown file to write.")],
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Write what audits say to those who ask for documentation: numbers filled in, blanks where they say nothing.

    The sheet follows the EU AI Act (Art. 15, Annex IV), FUTURE-AI and the FDA. It claims no conformity.
    """
    from imaseg.plugins import import_trusted
    from imaseg.report.evidence import write_evidence

    import_trusted(imports or (), trust=trust)
    typer.echo(f"Created {write_evidence(folders, out)}")


@app.command()
def config(
    file: Annotated[str, Argument(help="File to explain: train, plan, card or recipe.")],
    as_json: Annotated[bool, Option("--json", help="Print a JSON object, for scripts.")] = False,
) -> None:
    """Print every key of a training configuration, an audit plan, a model card or a recipe: type, default, meaning."""
    from imaseg.cli.keys import show_keys

    show_keys(file, as_json=as_json)


@app.command()
def schema(file: Annotated[str, Argument(help="File to describe: summary, run or case.")] = "summary") -> None:
    """Print the JSON Schema of summary.json, run.json or the cases' files of an audit folder."""
    import json

    from imaseg.auditing import Plan  # noqa: F401  which brings the kinds of rows along
    from imaseg.results.schema import FILES, json_schema

    if file not in FILES:
        msg = f"schema must be one of {', '.join(FILES)}, got {file!r}."
        raise InputError(msg)
    typer.echo(json.dumps(json_schema(file), indent=1))
