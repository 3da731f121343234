"""`imaseg nnunet`: train with nnU-Net's own command and robust methods, and export models back to nnU-Net."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from imaseg.errors import InputError

nnunet = typer.Typer(no_args_is_help=True, help="Train nnU-Net v2 with robust methods and export models to it.")

_TRAINERS = "nnUNet_extTrainer"
_USUAL = "nnUNetTrainerIMA"


@nnunet.command()
def path() -> None:
    """Print the folder of imaseg's trainers; set nnUNet_extTrainer to it to use them from nnU-Net's own commands."""
    from imaseg.integrations.nnunet.where import external

    typer.echo(external())


@nnunet.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, options_metavar="[--config FILE]"
)
def train(
    context: typer.Context,
    config: Annotated[
        Path | None,
        Option(help="YAML file with the settings of the method (default: the file that IMASEG_CONFIG names, if set)."),
    ] = None,
) -> None:
    """Run nnUNetv2_train with imaseg's trainers.

    All other arguments are passed on to it; -tr defaults to nnUNetTrainerIMA.
    """
    run_train(context.args, config)


@nnunet.command()
def export(
    model: Annotated[str, Argument(help="Results folder of nnU-Net: DIR, DIR@FOLD or DIR@FOLD/CHECKPOINT.")],
    out: Annotated[Path, Argument(help="Folder to write the model to.")],
    trust: Annotated[
        bool, Option("--trust", help="Read checkpoints that hold more than data, which may run code of their author.")
    ] = False,
) -> None:
    """Write a model folder that stock nnU-Net loads without imaseg and that holds data only, no code."""
    from imaseg.models.nnunet.export import export_nnunet

    for written in export_nnunet(model.removeprefix("nnunet:"), out, trust=trust):
        typer.echo(f"Created {written}")


def run_train(arguments: Sequence[str], config: Path | None) -> None:
    """Run nnU-Net's training command in this process, with imaseg's trainers added to those that it finds.

    Raises:
        InputError: if nnU-Net is not installed or the settings are wrong.
    """
    from imaseg.integrations.nnunet.config import VARIABLE, load_config
    from imaseg.integrations.nnunet.where import external

    if config is not None:
        load_config(config)
        os.environ[VARIABLE] = str(config.resolve())
    trainer_paths = os.environ.get(_TRAINERS)
    os.environ[_TRAINERS] = os.pathsep.join([str(external()), *([trainer_paths] if trainer_paths else [])])
    try:
        from nnunetv2.run.run_training import run_training_entry
    except ImportError as error:
        msg = 'nnunetv2 must be installed to train with nnU-Net, got none. Run pip install "imaseg[nnunet]".'
        raise InputError(msg) from error
    # If -tr is given several times, nnU-Net takes the last one, so a -tr of the user's wins.
    sys.argv = ["nnUNetv2_train", "-tr", _USUAL, *arguments]
    run_training_entry()
