"""`imaseg nnunet`: where the trainers are, nnU-Net's own training command with them, and models given back."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from imaseg.errors import InputError

nnunet = typer.Typer(no_args_is_help=True, help="nnU-Net v2: train with robust methods, export models.")

_TRAINERS = "nnUNet_extTrainer"
_USUAL = "nnUNetTrainerIMA"


@nnunet.command()
def path() -> None:
    """The folder that nnUNet_extTrainer is to be set to, for nnU-Net's own commands."""
    from imaseg.integrations.nnunet.where import external

    typer.echo(external())


@nnunet.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, options_metavar="[--config FILE]"
)
def train(
    context: typer.Context,
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--config", help="YAML file with the settings of the method; else those of IMASEG_CONFIG."),
    ] = None,
) -> None:
    """Like nnUNetv2_train, which gets all other arguments; -tr is nnUNetTrainerIMA if not given."""
    run_train(context.args, config)


@nnunet.command()
def export(
    model: Annotated[str, typer.Argument(help="DIR[@FOLD[/CHECKPOINT]], a results folder of nnU-Net.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    trust: Annotated[bool, typer.Option("--trust", help="Read a checkpoint that holds more than data.")] = False,
) -> None:
    """A folder that stock nnU-Net loads without imaseg, and that holds nothing but data."""
    from imaseg.models.nnunet.export import export_nnunet

    for written in export_nnunet(model.removeprefix("nnunet:"), out, trust=trust):
        typer.echo(f"Created {written}")


def run_train(arguments: Sequence[str], config: Path | None) -> None:
    """Run nnU-Net's training command in this process, with imaseg's trainers within its reach.

    Raises:
        InputError: if nnU-Net is not installed or the settings are wrong.
    """
    from imaseg.integrations.nnunet.config import VARIABLE, load_config
    from imaseg.integrations.nnunet.where import external

    if config is not None:
        load_config(config)
        os.environ[VARIABLE] = str(config.resolve())
    known = os.environ.get(_TRAINERS)
    os.environ[_TRAINERS] = os.pathsep.join([str(external()), *([known] if known else [])])
    try:
        from nnunetv2.run.run_training import run_training_entry
    except ImportError as error:
        msg = 'nnunetv2 must be installed to train with nnU-Net, got none. Run pip install "imaseg[nnunet]".'
        raise InputError(msg) from error
    # Of several -tr nnU-Net takes the last, in whatever way it is written.
    sys.argv = ["nnUNetv2_train", "-tr", _USUAL, *arguments]
    run_training_entry()
