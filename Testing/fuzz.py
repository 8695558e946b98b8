"""Random inputs against the program: a right result, or one sentence; never a traceback, a hang, half a file.

    python -m Testing.fuzz --minutes 10 --seed 3

Inputs are made from the phantom (``fuzz_inputs.py``). What fails is made simpler for as long as it still fails, and
kept: its plan and its files. The same seed draws the same inputs, whatever the number of minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ProtoSegBrainLib.commands.cli import main as run_command
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.network.weights import BUNDLED
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.prediction_files import read_prediction
from Testing.fuzz_inputs import KINDS, Plan, copy_model, draw, write_case, write_changed
from Testing.small_model import save_small_model

LONGEST_S = 60
LEAST_DICE = 0.8
"""Of the whole tumour, between the result of a plan and that of the plain phantom."""
LONGEST_SENTENCE = 1200
SMALLER_TRIES = 12
RARE = {"kill": 4}
"""Kinds that come up once in so many rounds only, as each takes long."""

Segment = Callable[[Sequence[str]], int]
"""The program: arguments -> exit code."""


@dataclass(frozen=True)
class Home:
    """What all trials need: a folder for their files, models, a plain result.

    Attributes:
        folder: For everything.
        small_model: With random weights, for plans of which no good result is owed.
        result: Folder of the plain phantom's result.
        plain: That result.
        usual_s: A run of the program in a process of its own.
        command: The program.
    """

    folder: Path
    small_model: Path
    result: Path
    plain: Prediction
    usual_s: float
    command: Segment


@dataclass
class Row:
    """A line of the table."""

    tried: int = 0
    right: int = 0
    refused: int = 0
    seconds: float = 0.0
    faults: list[tuple[Plan, str]] = field(default_factory=list)


# -- trials --------------------------------------------------------------------------------------------------------


def fault_of(plan: Plan, home: Home) -> tuple[str, bool]:
    """Try a plan: what went wrong, in words, "" if nothing; and whether the input was refused."""
    folder = Path(tempfile.mkdtemp(prefix="trial_", dir=home.folder))
    try:
        if plan.kind == "result":
            return _try_result(plan, folder, home)
        if plan.kind == "kill":
            return _try_kill(plan, folder, home)
        return _try_segment(plan, folder, home)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try_segment(plan: Plan, folder: Path, home: Home) -> tuple[str, bool]:
    case = folder / "case"
    write_case(plan, case)
    out = _place(plan, folder)
    before = _files(folder)
    arguments = [
        "segment",
        "--case",
        str(case),
        "--out",
        out,
        "--no-report",
        "--model",
        str(_model(plan, folder, home)),
    ]
    before = _files(folder)
    if plan.place == "closed stdout":
        code, said = _run_closed(arguments)
    else:
        code, said = _run(arguments, home.command)
    if plan.place == "again" and code == 0:
        before = _files(folder)
        code, said = _run(arguments, home.command)
        if code != 2:
            return f"an earlier result was replaced without --overwrite: exit code {code}", False
    if code == 2:
        return _fault_of_refusal(plan, said, before, folder), True
    if code != 0:
        return f"exit code {code}: {said[-600:]}", False
    return _fault_of_result(plan, Path(out), home), False


def _fault_of_refusal(plan: Plan, said: str, before: dict[str, int], folder: Path) -> str:
    sentences = [line for line in said.splitlines() if line.startswith("protosegbrain: ")]
    if plan.must_be_right:
        return f"refused, but nothing is wrong with it: {said[-600:]}"
    if len(sentences) != 1 or len(sentences[0]) > LONGEST_SENTENCE or "Traceback" in said:
        return f"expected one sentence: {said[-1500:]}"
    after = _files(folder)
    if after != before:
        return f"refused, but left {sorted(set(after) ^ set(before)) or 'a changed file'}"
    return ""


def _whole_result(out: Path) -> Prediction:
    """The result in a folder, if that holds nothing else."""
    left = [path.name for path in out.iterdir() if path.name.startswith(".")]
    if left:
        raise ValueError(f"left {', '.join(left)}")
    return read_prediction(out)


def _fault_of_result(plan: Plan, out: Path, home: Home) -> str:
    found = _whole_result(out)
    if not plan.must_be_right:
        return ""
    moved = found.affine.copy()
    moved[:3, 3] -= plan.moved_mm
    label = resample(Volume(found.label, moved), home.plain.label.shape, home.plain.affine, order=0).array
    agreement = dice(label > 0, home.plain.label > 0)
    return "" if agreement >= LEAST_DICE else f"Dice {agreement:.2f} with the plain phantom; {found.warnings}"


def _try_result(plan: Plan, folder: Path, home: Home) -> tuple[str, bool]:
    """A result whose JSON was changed is explained and changed by prototypes, or refused."""
    copied = folder / "result"
    shutil.copytree(home.result, copied)
    (summary,) = copied.glob("*_prediction.json")
    write_changed(summary, summary, plan)
    refused = False
    for arguments in (["explain", "--voxel", "40,36,38"], ["whatif", "--disable", "3", "--out", str(folder / "out")]):
        before = _files(folder)
        code, said = _run([*arguments, "--prediction", str(copied)], home.command)
        if code == 2:
            refused = True
            fault = _fault_of_refusal(plan, said, before, folder)
            if fault:
                return f"{arguments[0]}: {fault}", True
        elif code != 0:
            return f"{arguments[0]}: exit code {code}: {said[-600:]}", False
    return "", refused


def _try_kill(plan: Plan, folder: Path, home: Home) -> tuple[str, bool]:
    """A killed run leaves a whole result or none, and the next one succeeds."""
    case, out = folder / "case", folder / "out"
    write_case(plan, case)
    arguments = ["segment", "--case", str(case), "--out", str(out), "--model", str(home.small_model)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ProtoSegBrainLib", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait((plan.killed_after or 0) * home.usual_s)
    process.kill()
    process.wait()
    is_there = any(out.glob("*_prediction.json"))
    if is_there:
        read_prediction(out)
    code, said = _run([*arguments, *["--overwrite"] * is_there], home.command)
    if code != 0:
        return f"the run after the killed one: exit code {code}: {said[-600:]}", False
    _whole_result(out)
    return "", False


# -- running -------------------------------------------------------------------------------------------------------


def _run(arguments: Sequence[str], command: Segment) -> tuple[int, str]:
    """Exit code, and what was said on standard error; a run that takes too long is broken off."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said), _limited(LONGEST_S):
        code = command(list(arguments))
    return code, said.getvalue()


def _run_closed(arguments: Sequence[str]) -> tuple[int, str]:
    """The same in a process whose standard output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ProtoSegBrainLib", *arguments]
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, timeout=LONGEST_S, check=False)
    return done.returncode, done.stderr.decode(errors="replace")


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raises TimeoutError inside the block when the time is up (where the system has such signals)."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _model(plan: Plan, folder: Path, home: Home) -> Path:
    if plan.kind == "card":
        copy_model(BUNDLED, folder / "model.safetensors", plan)
        return folder / "model.safetensors"
    return BUNDLED if plan.must_be_right else home.small_model


def _place(plan: Plan, folder: Path) -> str:
    """The output folder of a plan, with what stands in its way."""
    if plan.place in ("a file", "below a file"):
        (folder / "file").touch()
    names = {"a file": "file", "below a file": "file/out", "of the case": "case", "long": "x" * 300, "umlauts": "Ä ö/ß"}
    return "" if plan.place == "empty name" else str(folder / names.get(plan.place, "out"))


def _files(folder: Path) -> dict[str, int]:
    """All files below, with their time of change."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def a_home(command: Segment = run_command) -> Iterator[Home]:
    """A folder with the plain phantom's result and a small model; removed after the block."""
    with tempfile.TemporaryDirectory(prefix="fuzz_") as name:
        folder = Path(name)
        case, result = folder / "case", folder / "result"
        write_case(Plan("plain", 0), case)
        code, said = _run(["segment", "--case", str(case), "--out", str(result), "--no-report"], run_command)
        if code != 0:
            raise RuntimeError(f"The plain phantom cannot be segmented: {said}")
        model = save_small_model(folder / "small.safetensors")
        yield Home(folder, model, result, read_prediction(result), _usual_seconds(case, folder, model), command)


def _usual_seconds(case: Path, folder: Path, model: Path) -> float:
    start = time.monotonic()
    arguments = ["segment", "--case", str(case), "--out", str(folder / "timed"), "--model", str(model)]
    subprocess.run([sys.executable, "-m", "ProtoSegBrainLib", *arguments], capture_output=True, check=True)
    return time.monotonic() - start


# -- many ----------------------------------------------------------------------------------------------------------


def plans(seed: int, kinds: Sequence[str]) -> Iterator[Plan]:
    """Plans without end, of all kinds in turn, the expensive kinds less often."""
    for number in itertools.count():
        for kind in kinds:
            if number % RARE.get(kind, 1) == 0:
                yield draw(kind, seed * 1_000_000 + number)


def fuzz(minutes: float, seed: int, home: Home, keep: Path, kinds: Sequence[str] = tuple(KINDS)) -> dict[str, Row]:
    """Try plans for so long; what fails is made smaller and kept in a folder."""
    rows = {kind: Row() for kind in kinds}
    end = time.monotonic() + 60 * minutes
    for plan in plans(seed, kinds):
        if time.monotonic() > end:
            break
        row, start = rows[plan.kind], time.monotonic()
        fault, refused = _fault(plan, home)
        row.tried += 1
        row.seconds += time.monotonic() - start
        row.refused += refused and not fault
        row.right += not refused and not fault
        if fault:
            smallest, fault = smaller(plan, fault, home)
            row.faults.append((smallest, fault))
            keep_input(smallest, fault, keep, home)
    return rows


def _fault(plan: Plan, home: Home) -> tuple[str, bool]:
    """As ``fault_of``; what the trial itself raises is a fault, too."""
    try:
        return fault_of(plan, home)
    except Exception as error:
        return f"{type(error).__name__}: {error}", False


def smaller(plan: Plan, fault: str, home: Home) -> tuple[Plan, str]:
    """The plan with as many fields at their defaults as still fails, and how that fails."""
    default = Plan(plan.kind, plan.seed)
    tries = 0
    for name in [member.name for member in fields(Plan)][2:]:
        simpler = replace(plan, **{name: getattr(default, name)})
        if simpler == plan or simpler.must_be_right != plan.must_be_right or tries == SMALLER_TRIES:
            continue
        tries += 1
        new, _ = _fault(simpler, home)
        if new:
            plan, fault = simpler, new
    return plan, fault


def keep_input(plan: Plan, fault: str, keep: Path, home: Home) -> Path:
    """Write a failing input into a folder: its files, the plan, what went wrong."""
    folder = keep / f"{plan.kind}_{plan.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with contextlib.suppress(Exception):  # the maker itself may be what fails
        write_case(plan, folder / "case")
        if plan.kind == "card":
            copy_model(BUNDLED, folder / "model.safetensors", plan)
        if plan.kind == "result":
            shutil.copytree(home.result, folder / "result")
            (summary,) = (folder / "result").glob("*_prediction.json")
            write_changed(summary, summary, plan)
    (folder / "plan.txt").write_text(f"{departures(plan)}\n\n{fault}\n", encoding="utf-8")
    return folder


def departures(plan: Plan) -> str:
    """The plan, without the fields at their defaults, as Python."""
    default = Plan(plan.kind, plan.seed)
    names = [member.name for member in fields(Plan)]
    own = [f"{n}={getattr(plan, n)!r}" for n in names if n in names[:2] or getattr(plan, n) != getattr(default, n)]
    return f"Plan({', '.join(own)})"


def table(rows: dict[str, Row]) -> str:
    """How many of each kind were tried, right, refused as they should be, and wrong."""
    lines = [f"{'kind':<10} {'tried':>6} {'right':>6} {'refused':>8} {'wrong':>6} {'seconds':>8}"]
    for kind, row in rows.items():
        counts = f"{row.tried:>6} {row.right:>6} {row.refused:>8} {len(row.faults):>6} {row.seconds:>8.1f}"
        lines.append(f"{kind:<10} {counts}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 when something failed."""
    parser = argparse.ArgumentParser(prog="python -m Testing.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (default: 0)")
    parser.add_argument("--kinds", nargs="*", choices=tuple(KINDS), default=tuple(KINDS), help="only these")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_failed", metavar="DIR")
    options = parser.parse_args(arguments)
    logging.disable(logging.ERROR)
    try:
        with a_home() as home:
            rows = fuzz(options.minutes, options.seed, home, options.keep, options.kinds)
    finally:
        logging.disable(logging.NOTSET)
    print(table(rows))
    faults = [fault for row in rows.values() for fault in row.faults]
    for plan, fault in faults:
        print(f"\n{departures(plan)}\n  {fault.strip()}\n  kept in {options.keep / f'{plan.kind}_{plan.seed}'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
