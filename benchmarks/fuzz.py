"""Does imaseg read damaged files, or refuse them in one line? Never a traceback, a crash or a hang.

    python benchmarks/fuzz.py [--out DIR] [--inputs N] [--seed N] [--jobs N] [--kinds NAME ...] [--only KIND:NUMBER ...]

A sound input of each kind (images, data folders, recipes, configurations, plans, checkpoints, results) is damaged in
its bytes, or in its structure with checksums made anew, and read as the command line reads it, in a process of its own
with limits on time and memory. It prints a Markdown table. Every input is told by its kind, its number and the seed;
--only does some again and shows their tracebacks. Finished inputs are in DIR/inputs.jsonl and are not done again; the
files of those that ended as none should are in DIR/finds.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import multiprocessing
import os
import platform
import random
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from fuzzing.changes import damage
from fuzzing.child import verdict
from fuzzing.kinds import KINDS, Kind

OUTCOMES = {
    "same": "read, nothing else in it",
    "changed": "read, with other content, in a format without a checksum over it",
    "refused": "one line of at most 1000 characters that names a file",
    "badly refused": "several lines, longer, or no file named",
    "undetected": "other content although the bytes do not match the format's checksum",
    "traceback": "any other exception",
    "crash": "the process died of a signal",
    "hang": "more than the time allowed",
    "memory": "more than the memory allowed",
}
GOOD = ("same", "changed", "refused")
CHECKSUMS = (".nii.gz", ".png", ".pt", ".pth", ".npz")
"""Formats that hold a checksum over everything: gzip, PNG, zip."""
PACKED = {".nrrd": (b"encoding: gzip", b"\n\n"), ".mha": (b"CompressedData = True", b"LOCAL\n")}
"""Formats that hold one over their voxels: what the header says then, and how it ends."""
_PACKAGES = (
    "imaseg",
    "torch",
    "numpy",
    "nibabel",
    "SimpleITK",
    "pillow",
    "tifffile",
    "pydicom",
    "safetensors",
    "PyYAML",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work/fuzz"))
    parser.add_argument(
        "--inputs",
        type=int,
        default=20_000,
        help="slow kinds get a tenth of the others'",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="inputs at a time")
    parser.add_argument("--kinds", nargs="+", default=[*KINDS], choices=KINDS, metavar="NAME")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND:NUMBER")
    parser.add_argument("--seconds", type=float, default=5, help="processor time per input")
    parser.add_argument("--memory", type=float, default=1.5, help="GiB per input")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of writers, about what they are made to write
    torch.set_num_threads(1)  # threads would not be there after a fork
    options.out = options.out.resolve()
    sound(options)
    if options.only:
        for key in options.only:
            kind, _, number = key.rpartition(":")
            print(json.dumps(found := done(options, (kind, int(number)), keep=True)))
            print(found.get("traceback", ""), file=sys.stderr)
        return
    show(options, run(options))


def sound(options: argparse.Namespace) -> None:
    """Make the sound input of each kind, once for a folder, in a process that takes its threads along."""
    wanted = {key.rpartition(":")[0] for key in options.only} or {*options.kinds}
    for name in sorted(wanted):
        folder = options.out / "sound" / name
        if folder.is_dir():
            continue
        part = options.out / "sound" / ".part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        process = multiprocessing.get_context("fork").Process(target=KINDS[name].make, args=(part,))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{name}: no sound input could be made.")
        found = [_verdict(options, KINDS[name], shutil.copytree(part, part.with_name(f".{i}"))) for i in "12"]
        for i in "12":
            shutil.rmtree(part.with_name(f".{i}"))
        if found[0].get("digest") is None or found[0]["digest"] != found[1].get("digest"):
            raise SystemExit(f"{name}: the sound input must be read, twice alike, got {found}.")
        (options.out / "sound" / f"{name}.digest").write_text(found[0]["digest"])
        part.rename(folder)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Do what is not done yet; each result is a line in a file as soon as it is there."""
    path = options.out / "inputs.jsonl"
    before = [one for one in finished(path) if one["kind"] in options.kinds and one["seed"] == options.seed]
    done_before = {(one["kind"], one["number"]) for one in before}
    each = options.inputs / sum(KINDS[kind].share for kind in options.kinds)
    most = {kind: math.ceil(each * KINDS[kind].share) for kind in options.kinds}
    wanted = [(kind, number) for number in range(math.ceil(each)) for kind in options.kinds if number < most[kind]]
    left = [key for key in wanted if key not in done_before]
    gc.collect()
    gc.freeze()
    begin, results = time.perf_counter(), [one for one in before if one["number"] < most[one["kind"]]]
    with (
        path.open("a") as file,
        ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork"), _end_with_parent) as pool,
    ):
        for count, found in enumerate(pool.map(partial(done, options), left), 1):
            file.write(json.dumps(found) + "\n")
            file.flush()
            results.append(found)
            if count % 100 == 0 or count == len(left):
                rate = (time.perf_counter() - begin) / count
                bad = sum(one["outcome"] not in GOOD for one in results)
                left_s = rate * (len(left) - count)
                print(f"{len(results)} of {len(wanted)}, {bad} finds, {left_s / 60:.0f} min left", file=sys.stderr)
    return results


def _end_with_parent() -> None:
    """Else a process that waits for work would wait for ever once the main one was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def finished(path: Path) -> Iterator[dict[str, Any]]:
    """Results of earlier runs; a last line that was cut off by a kill is cut off for good."""
    if not path.is_file():
        return
    whole = path.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    os.truncate(path, len(whole))
    yield from map(json.loads, whole.splitlines())


def done(options: argparse.Namespace, key: tuple[str, int], *, keep: bool = False) -> dict[str, Any]:
    """Damage one input and read it. Number 0 of each kind is sound."""
    name, number = key
    kind = KINDS[name]
    folder = options.out / "now" / f"{name.replace(' ', '_')}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(options.out / "sound" / name, folder)
    rng = random.Random(f"{options.seed} {name} {number}")
    path = rng.choice(sorted({one for pattern in kind.files for one in folder.glob(pattern) if one.is_file()}))
    before, file = path.read_bytes(), path.relative_to(folder)
    level, told = damage(rng, path) if number else ("sound", "")
    content = path.read_bytes()
    found = _verdict(options, kind, folder)
    if found["outcome"] == "accepted":
        same = found.pop("digest") == _digest_of_sound(options.out, name)
        summed = level == "bytes" and kind.alone and _summed(path.name, before, content)
        found["outcome"] = "same" if same else "undetected" if summed else "changed"
    shutil.rmtree(folder, ignore_errors=True)
    if keep or found["outcome"] not in GOOD:
        _keep(options.out / "sound" / name, options.out / "finds" / folder.name, file, content)
    return {"kind": name, "number": number, "seed": options.seed, "change": f"{file}: {level}: {told}"[:200], **found}


def _verdict(options: argparse.Namespace, kind: Kind, folder: Path) -> dict[str, Any]:
    names = frozenset(one.name for one in folder.rglob("*.*")) | {str(folder)}
    return verdict(kind.read, folder, seconds=options.seconds, memory=int(options.memory * 2**30), names=names)


def _summed(name: str, before: bytes, after: bytes) -> bool:
    """Whether a checksum of the format covers what was changed."""
    said, end = PACKED.get(Path(name).suffix, (b"", b""))
    head = before.partition(end)[0] + end if end else b""
    return name.endswith(CHECKSUMS) or bool(end and said in head and after.startswith(head))


@cache
def _digest_of_sound(out: Path, name: str) -> str:
    return (out / "sound" / f"{name}.digest").read_text()


def _keep(sound: Path, folder: Path, file: Path, content: bytes) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    (folder / file).write_bytes(content)


def show(options: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """A row per kind, what must not be by where it happened, and what it was made with."""
    print(f"\n| kind | n | {' | '.join(OUTCOMES)} | slowest, s |\n| --- |{' ---: |' * (len(OUTCOMES) + 2)}")
    for name in [*options.kinds, "all"]:
        of_kind = [one for one in results if name in (one["kind"], "all")]
        counts = Counter(one["outcome"] for one in of_kind)
        slowest = max((one["seconds"] for one in of_kind), default=0)
        print(f"| {name} | {len(of_kind)} | {' | '.join(str(counts[one]) for one in OUTCOMES)} | {slowest:.1f} |")
    print("\n" + "; ".join(f"{name}: {meaning}" for name, meaning in OUTCOMES.items()) + ".")
    found = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    hardware = platform.processor() or platform.machine()
    limits = f"{options.seconds:g} s and {options.memory:g} GiB per input"
    print(f"\nn = {len(results)} inputs, seed {options.seed}, {limits}, {hardware}, {os.cpu_count()} cores, {found}")
    places: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in (one for one in results if one["outcome"] not in GOOD):
        where = one["kind"], one["outcome"], one.get("error", ""), one.get("place", "")
        places.setdefault(where, []).append(one)
    for (kind, *where), alike in sorted(places.items(), key=lambda item: -len(item[1])):
        first = alike[0]
        told = f"{' '.join(filter(None, where))}: {' '.join(first.get('message', '').split())[:120]}"
        print(f"- {len(alike)} x {told} (--only '{kind}:{first['number']}': {first['change']})")


if __name__ == "__main__":
    main()
