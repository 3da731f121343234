"""What long jobs make of faults: killed, starved of disk, under a jumping clock, resumed with something changed.

    python benchmarks/faults.py [--out DIR] [--seed S] [--scale X] [--only CATEGORY ...] [--markdown FILE]

Each run of a job on tiny phantoms meets one fault at a random moment (drawn from the seed, the category and the number
of the run) and is then started again with the same command. It counts as

    equal                 the folder holds what an undisturbed run writes: the same bytes, times and hosts aside
    refused in one line   exit code 2 and one sentence on stderr, where that is right: the disk is full (started again
                          with room it must then come to equal results), or model, data or plan were changed
    else                  anything else: a traceback, other numbers, a wrong refusal, a process that stays

Jobs are forked from this process, which has imported everything, since imports would take longer than the jobs. A full
disk is a limit on the size of files (RLIMIT_FSIZE) that drops to zero at a random moment: the kernel then refuses every
write, of native libraries too. Needs Linux. Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

EQUAL, REFUSED = "equal", "refused in one line"
LIMIT = 90.0
"""Seconds after which a job counts as hanging."""
TIMES = {
    "seconds",
    "peak_memory_mb",
    "process",
    "processes",
    "cost",
    "cost_per_case",
    "case_seconds",
    "command",
    "started",
}
PLAN = """name: faults
probes:
- {attack: pgd, unit: std, eps: [0.01, 0.05], steps: 4, write: nifti}
- {kind: voxel-margin, perturbation: l2, unit: rms, eps: 0.6, cases: 2, rungs: 3, focus: 1, methods: [gradient]}
margins: [{unit: std, eps: 1.0, steps: 3, rtol: 0.3}]
showcase: {eps: 0.05}
"""
CONFIG = """network: {name: UNet, channels: [4, 8], strides: [2], num_res_units: 0, norm: batch}
patch: [16, 16, 12]
epochs: 12
monitor: 0.2
learning_rate: 0.02
device: cpu
method: {name: ima, perturbation: {name: l2, eps: 0.2, unit: rms}, steps: 2, bisections: 2}
"""


@dataclass
class Job:
    """A command, how often it meets each kind of fault, and how long it takes undisturbed (seconds).

    `begun` is what it has written when there is something to resume.
    """

    name: str
    words: list[str]
    kills: int
    begun: str
    resume: bool = True
    took: float = 0.0
    code: int = 0
    reference: Path = field(default_factory=Path)

    def command(self, base: Path, out: Path) -> list[str]:
        """With `{base}` and `{out}` filled in."""
        return [word.format(base=base, out=out) for word in self.words] + (["--resume"] if self.resume else [])


ON = ["{base}/run", "{base}/prepared", "--out", "{out}", "--cases", "all", "--device", "cpu"]
NOTES, CASES = ".prepare/*.survey.json", "cases/[!.]*.json"
JOBS = [
    Job("prepare", ["prepare", "{base}/raw", "{out}"], 25, NOTES, resume=False),
    Job("prepare, 2 workers", ["prepare", "{base}/raw", "{out}", "--workers", "2"], 15, NOTES, resume=False),
    Job("train", ["train", "{base}/c.yaml", "--data", "{base}/prepared", "--out", "{out}"], 45, "checkpoint.pt"),
    Job("audit", ["audit", *ON, "--plan", "{base}/plan.yaml"], 45, CASES),
    Job("attack", ["attack", *ON, "--eps", "0.1", "--steps", "4"], 35, CASES),
    Job("margin", ["margin", *ON, "--perturbation", "l2:1", "--steps", "3"], 35, CASES),
]


class Running:
    """A forked `imaseg` command in a session of its own."""

    def __init__(self, words: list[str], clock: Callable[[], float] | None = None) -> None:
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(read)
            _be(words, write, clock)
        os.close(write)
        self._read, self.code, self.text = read, None, ""

    def wait(self, seconds: float, mark: Callable[[], bool] = lambda: False) -> bool:
        """Until it ends, the time is over or the mark is there; whether it has ended."""
        end = time.monotonic() + seconds
        while self.code is None and time.monotonic() < end and not mark():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.002)
        return self.code is not None

    def kill(self) -> None:
        """By SIGKILL, the process alone: its workers must notice by themselves."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self) -> Running:
        """Wait for the end, of workers too; what was said is in `text` then."""
        if not self.wait(LIMIT):
            self.kill()
            self.text = "it hung"
        if not gone(self.pid):
            os.killpg(self.pid, signal.SIGKILL)
            self.text += "a process stayed"
        with os.fdopen(self._read, errors="replace") as said:
            self.text += said.read()
        return self

    @property
    def refused(self) -> bool:
        """Whether it ended with one sentence."""
        lines = [line for line in self.text.splitlines() if line.startswith("imaseg: ")]
        return self.code == 2 and len(lines) == 1 and lines[0] == self.text.splitlines()[-1] and clean(self.text)


def clean(text: str) -> bool:
    """Whether nothing speaks of a fault of the program."""
    return not any(word in text for word in ("Traceback", "Exception ignored", "it hung", "a process stayed"))


def gone(group: int) -> bool:
    """Whether all processes of a session end soon."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def _be(words: list[str], write: int, clock: Callable[[], float] | None) -> None:
    """Become the command; never returns."""
    code = 1
    try:
        os.setsid()
        for number in (1, 2):
            os.dup2(write, number)
        os.close(write)
        import torch

        from imaseg.cli.main import run

        torch.set_num_threads(1)
        if clock is not None:
            time.time = clock
        sys.argv = ["imaseg", *words]
        run()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


class Bench:
    """Runs every fault once per entry of a results file."""

    def __init__(self, out: Path, seed: int) -> None:
        self.base, self.work, self.seed = out / "base", out / "work", seed
        self.path = out / "results.json"
        self.results: dict[str, str] = json.loads(self.path.read_text()) if self.path.is_file() else {}
        out.mkdir(parents=True, exist_ok=True)

    def set_up(self) -> None:
        """Data, a model and the undisturbed runs, made anew by every start: their times are those of this machine."""
        shutil.rmtree(self.base, ignore_errors=True)
        self.base.mkdir()
        make_inputs(self.base)
        for job in JOBS:
            job.reference = self.base / f"reference-{job.name}" / "out"  # a run is named after its folder
            began, done = time.monotonic(), Running(job.command(self.base, job.reference)).end()
            job.took, job.code = time.monotonic() - began, done.code or 0
            if job.code not in (0, 3) or not clean(done.text):
                raise SystemExit(f"{job.name} fails undisturbed: {done.text}")

    def run(self, category: str, name: str, number: int, fault: Callable[[random.Random, Path], str]) -> None:
        """One fault, if its result is not there yet."""
        key = f"{category}|{name}|{number}"
        if key in self.results:
            return
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.results[key] = fault(random.Random(f"{self.seed}|{key}"), self.work / "out")
        other = self.path.with_suffix(".new")
        other.write_text(json.dumps(self.results, indent=0))
        other.replace(self.path)
        if self.results[key] not in (EQUAL, REFUSED):
            print(f"{key}: {self.results[key]}", file=sys.stderr, flush=True)

    def finished(self, job: Job, out: Path, *, clock: Callable[[], float] | None = None) -> str:
        """Run the command to its end and compare with the undisturbed run."""
        done = Running(job.command(self.base, out), clock).end()
        return self.compared(job, out, done.code, done.text)

    def compared(self, job: Job, out: Path, code: int | None, text: str) -> str:
        """Whether a run that ended is the undisturbed one."""
        if code != job.code or not clean(text):
            return f"exit code {code} instead of {job.code}: {text[-300:]}"
        differs = differences(job.reference, out)
        return f"other content: {', '.join(differs)}" if differs else EQUAL

    def killed(self, job: Job) -> Callable[[random.Random, Path], str]:
        """Kill -9 at a random moment."""

        def fault(rng: random.Random, out: Path) -> str:
            first = Running(job.command(self.base, out))
            first.wait(rng.uniform(0, job.took))
            first.kill()
            first.end()
            return self.finished(job, out) if clean(first.text) else first.text

        return fault

    def full(self, job: Job) -> Callable[[random.Random, Path], str]:
        """No write succeeds from a random moment on; then there is room again."""

        def fault(rng: random.Random, out: Path) -> str:
            first = Running(job.command(self.base, out))
            if not first.wait(rng.uniform(0, job.took)):
                for pid in (first.pid, *children(first.pid)):
                    _fill(pid)
            first.end()
            if not first.refused and first.code != job.code:
                return f"exit code {first.code}: {first.text[-300:]}"
            found = self.finished(job, out)
            return REFUSED if found == EQUAL and first.refused else found

        return fault

    def jumping(self, job: Job) -> Callable[[random.Random, Path], str]:
        """A wall clock that jumps up to ten days at every reading, and a kill."""

        def fault(rng: random.Random, out: Path) -> str:
            now = time.time

            def clock() -> float:
                return now() + rng.uniform(-1, 1) * 864000

            first = Running(job.command(self.base, out), clock)
            first.wait(rng.uniform(0, job.took))
            first.kill()
            first.end()
            found = self.finished(job, out, clock=clock)
            return found if found != EQUAL else odd_times(out, 10 * job.took) or EQUAL

        return fault

    def changed(self, job: Job, change: Callable[[Path], list[str]]) -> Callable[[random.Random, Path], str]:
        """Something is changed when a part is finished: refused, or as if all had been run with the change."""

        def fault(_: random.Random, out: Path) -> str:
            base = self.work / "base"
            shutil.copytree(self.base, base, ignore=shutil.ignore_patterns("reference-*"))
            first = Running(job.command(base, out))
            first.wait(LIMIT, lambda: bool(list(out.glob(job.begun))))
            first.kill()
            first.end()
            more = change(base)
            whole = self.work / "fresh" / "out"
            second, fresh = (Running([*job.command(base, where), *more]).end() for where in (out, whole))
            if second.refused:
                return REFUSED
            differs = differences(whole, out)
            if second.code != fresh.code or differs:
                return f"exit code {second.code}, other content: {', '.join(differs)} {second.text[-300:]}"
            return EQUAL

        return fault

    def lost(self, job: Job) -> Callable[[random.Random, Path], str]:
        """One of two processes of `torchrun` is killed; all end, and the same two come to equal results."""

        def fault(rng: random.Random, out: Path) -> str:
            reference = self.base / f"reference-torchrun-{job.name}" / "out"
            if not reference.is_dir():
                torchrun(job.command(self.base, reference))
            whole = Job(**{**vars(job), "reference": reference})
            begun = torchrun(job.command(self.base, out), rng, lambda: bool(list(out.glob(job.begun))))
            if begun is None:
                return "it hung"
            done = torchrun(job.command(self.base, out))
            if done is None:
                return "it hung when resumed"
            if done.returncode != bool(job.code):  # torchrun ends with 1 whatever the code of its processes is
                return f"torchrun ended with {done.returncode}: {done.stdout[-1500:]}"
            return self.compared(whole, out, job.code, "")

        return fault


def torchrun(
    words: list[str], rng: random.Random | None = None, mark: Callable[[], bool] = lambda: True
) -> subprocess.CompletedProcess[str] | None:
    """Two processes; with `rng` one of them is killed a moment after the mark. None if they do not end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "imaseg"]
    process = subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    if rng is not None:
        end = time.monotonic() + LIMIT
        while not mark() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.5))
        for pid in rng.sample(children(process.pid), 1) if children(process.pid) else ():
            os.kill(pid, signal.SIGKILL)
    try:
        said, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    if not gone(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
        return None
    return subprocess.CompletedProcess(words, process.returncode, said)


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _fill(pid: int) -> None:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    except ProcessLookupError:
        pass


def make_inputs(base: Path) -> None:
    """A phantom cohort, prepared, a model trained on it for a moment, and settings."""
    (base / "c.yaml").write_text(CONFIG)
    (base / "plan.yaml").write_text(PLAN)
    script = (
        "import sys; from pathlib import Path; from imaseg.data.phantom import write_phantom; "
        "write_phantom(Path(sys.argv[1]), cases=6, shape=(16, 16, 12))"
    )
    subprocess.run([sys.executable, "-c", script, str(base / "raw")], check=True)
    prepared = ["prepare", str(base / "raw"), str(base / "prepared")]
    trained = ["train", str(base / "c.yaml"), "--data", str(base / "prepared"), "--out", str(base / "run"), "epochs=4"]
    for words in (prepared, trained):
        done = Running(words).end()
        if done.code:
            raise SystemExit(done.text)


def differences(one: Path, other: Path) -> list[str]:
    """Files that differ, times and hosts aside; TensorBoard's, whose names hold both, are left out."""
    left, right = (
        {
            str(path.relative_to(folder)): path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".lock" and "tensorboard" not in path.parts
        }
        for folder in (one, other)
    )
    alone = sorted(left.keys() ^ right.keys())
    return alone + [name for name in sorted(left.keys() & right.keys()) if content(left[name]) != content(right[name])]


def content(path: Path) -> Any:
    """What must be equal of a file."""
    if path.suffix == ".html":
        return None  # holds times; made from the files that are compared
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    if path.suffix == ".pt":
        import torch

        return plain(torch.load(path, weights_only=True))  # equal states may be packed in other bytes
    return path.read_bytes()


def plain(value: Any) -> Any:
    """Tensors as their shape and bytes."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return (tuple(value.shape), value.numpy().tobytes()) if hasattr(value, "numpy") else value


def timeless(value: Any) -> Any:
    """Without times and hosts, and without hashes of archives that hold times."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES and not k.endswith(".npz")}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def odd_times(out: Path, most: float) -> str:
    """What is wrong with the seconds that the cases of an audit state; empty if nothing is."""
    for path in out.glob("cases/*.json"):
        seconds = json.loads(path.read_text())["seconds"]
        if not 0 <= seconds <= most:
            return f"{path.name} took {seconds} s"
    return ""


def flip_weight(base: Path) -> list[str]:
    """Another weight in the model."""
    from safetensors.torch import load_file, save_file

    weights = load_file(base / "run" / "weights.safetensors")
    first = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[first].view(-1)[0] += 0.5
    save_file(weights, base / "run" / "weights.safetensors")
    return []


def flip_voxel(folder: str) -> Callable[[Path], list[str]]:
    """Another grey value in an image."""

    def change(base: Path) -> list[str]:
        import nibabel as nib
        import numpy as np

        path = min((base / folder / "imagesTr").glob("*.nii.gz"))
        image = nib.load(path)
        values = np.asanyarray(image.dataobj).copy()
        values[8, 8, 6] += 1
        nib.save(type(image)(values, image.affine, image.header), path)
        return []

    return change


def edit(name: str, old: str, new: str) -> Callable[[Path], list[str]]:
    """Another line in a file of settings."""

    def change(base: Path) -> list[str]:
        text = (base / name).read_text()
        assert old in text
        (base / name).write_text(text.replace(old, new))
        return []

    return change


def more(*words: str) -> Callable[[Path], list[str]]:
    """Another option."""
    return lambda _: list(words)


CHANGES = {
    "changed weights": dict.fromkeys(("audit", "attack", "margin"), flip_weight),
    "changed data": {
        "prepare": flip_voxel("raw"),
        **{name: flip_voxel("prepared") for name in ("train", "audit", "attack", "margin")},
    },
    "changed plan": {
        "prepare": more("--recipe", "convert"),
        "train": edit("c.yaml", "learning_rate: 0.02", "learning_rate: 0.01"),
        "audit": edit("plan.yaml", "steps: 4", "steps: 5"),
        "attack": more("--eps", "0.2"),
        "margin": more("--steps", "4"),
    },
}


def faults(bench: Bench, scale: float) -> list[tuple[str, str, int, Callable[[random.Random, Path], str]]]:
    """Category, job, how often, fault."""
    by_name = {job.name: job for job in JOBS}

    def times(n: int) -> int:
        return math.ceil(n * scale)

    found = [("kill -9", job.name, times(job.kills), bench.killed(job)) for job in JOBS]
    found += [("disk full", job.name, times(job.kills // 4), bench.full(job)) for job in JOBS]
    found += [("jumping clock", job.name, times(job.kills // 10), bench.jumping(job)) for job in JOBS]
    for category, changes in CHANGES.items():
        found += [(category, name, times(2), bench.changed(by_name[name], one)) for name, one in changes.items()]
    found += [("killed rank of torchrun", name, times(4), bench.lost(by_name[name])) for name in ("train", "audit")]
    return found


def table(results: dict[str, str]) -> str:
    """Outcomes by category and job, in Markdown."""
    lines = [f"| fault | job | runs | {EQUAL} | {REFUSED} | else |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    groups: dict[tuple[str, str], Counter[str]] = {}
    for key, outcome in results.items():
        category, name, _ = key.split("|")
        counts = groups.setdefault((category, name), Counter())
        counts[outcome if outcome in (EQUAL, REFUSED) else "else"] += 1
    total: Counter[str] = sum(groups.values(), Counter())
    for (category, name), n in [*groups.items(), (("all", ""), total)]:
        cells = (category, name, n.total(), n[EQUAL], n[REFUSED], n["else"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work/faults"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the runs, at least one of each")
    parser.add_argument("--only", nargs="+", metavar="CATEGORY", help="categories as the table names them")
    parser.add_argument("--markdown", type=Path, help="file to write the table to")
    arguments = parser.parse_args()
    import imaseg.auditing  # before the first fork
    import imaseg.cli.audit
    import imaseg.cli.prepare
    import imaseg.data.phantom
    import imaseg.runs.job  # noqa: F401

    bench = Bench(arguments.out.resolve(), arguments.seed)
    bench.set_up()
    for category, name, runs, fault in faults(bench, arguments.scale):
        if not arguments.only or category in arguments.only:
            for number in range(runs):
                bench.run(category, name, number, fault)
    shown = table(bench.results) + footer(arguments.seed)
    print(shown)
    if arguments.markdown is not None:
        arguments.markdown.write_text(shown + "\n")
    if any(outcome not in (EQUAL, REFUSED) for outcome in bench.results.values()):
        raise SystemExit(1)


def footer(seed: int) -> str:
    """Cases, seed, hardware and versions."""
    found = ", ".join(f"{name} {version(name)}" for name in ("imaseg", "torch", "monai"))
    machine = f"{platform.machine()}, 1 thread, Python {platform.python_version()}"
    return f"\n\n6 phantoms of 16 x 16 x 12, seed {seed}, {machine}, {found}"


if __name__ == "__main__":
    main()
