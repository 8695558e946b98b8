"""What a training run writes down: JSON lines, a picture of the curves, and optional trackers.

`log.jsonl` is the record; the picture and the trackers are views of the same values. One line is one call of
`Logbook.log`: `{"step": 12, "loss/total": 0.81, "lr": 0.001}`. The part of a name before "/" groups the curves.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ProtoSegBrainLib.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_NAME = "log.jsonl"
PLOT_NAME = "curves.png"
SMOOTH_ABOVE = 100  # points; longer curves get a running mean over a fiftieth of their length


class Tracker(Protocol):
    """A place that shows the curves elsewhere. It is never read back."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoardTracker:
    """Writes event files into `out_dir/tensorboard`; `tensorboard --logdir out_dir` shows them."""

    def __init__(self, out_dir: Path, resume_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError(
                "The tracker 'tensorboard' needs the package tensorboard: pip install tensorboard"
            ) from error
        # purge_step hides what an earlier, killed run wrote at or after the step from which this one repeats it.
        purge_step = resume_step if resume_step > 0 else None
        self._writer = SummaryWriter(log_dir=str(Path(out_dir) / "tensorboard"), purge_step=purge_step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandbTracker:
    """Logs to Weights & Biases, offline unless the environment variable WANDB_MODE says otherwise.

    Offline runs lie in `out_dir/wandb`; `wandb sync` uploads them later.
    """

    def __init__(self, out_dir: Path, resume_step: int = 0) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ValueError("The tracker 'wandb' needs the package wandb: pip install wandb") from error
        self._run = wandb.init(
            project="protosegbrain",
            name=f"{Path(out_dir).resolve().name}-from-step-{resume_step}",
            dir=str(out_dir),
            mode=None if "WANDB_MODE" in os.environ else "offline",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, type[TensorBoardTracker] | type[WandbTracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
}


def open_trackers(names: Sequence[str], out_dir: Path | str, resume_step: int = 0) -> tuple[Tracker, ...]:
    """Opens the trackers named, in order.

    Raises:
        ValueError: A name is not in `TRACKERS`, or its package is not installed.
    """
    unknown = [name for name in names if name not in TRACKERS]
    if unknown:
        raise ValueError(f"Unknown tracker {unknown[0]!r}; expected one of {', '.join(TRACKERS)}.")
    return tuple(TRACKERS[name](Path(out_dir), resume_step) for name in names)


class Logbook:
    """Appends values to `out_dir/log.jsonl` and hands them to the trackers.

    Args:
        out_dir: Folder of the run; made if absent.
        trackers: Further places that get the same values, see `open_trackers`.
        resume_step: The first step that this run will log. Lines of an earlier run at or after it are dropped, as is
            a line cut short when that run was killed; with 0 the log starts anew.
    """

    def __init__(self, out_dir: Path | str, trackers: Sequence[Tracker] = (), resume_step: int = 0) -> None:
        self.out_dir = Path(out_dir)
        self.path = self.out_dir / LOG_NAME
        self._trackers = tuple(trackers)
        self.out_dir.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_log(self.path) if line["step"] < resume_step] if self.path.exists() else []
        write_whole(self.path, "".join(_to_line(line) for line in kept))
        self._file = self.path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line at once, so that a killed run loses nothing. NaN and infinities are written as null."""
        numbers = {name: float(value) for name, value in values.items()}
        self._file.write(_to_line({"step": int(step), **numbers}))
        self._file.flush()
        for tracker in self._trackers:
            tracker.log(int(step), numbers)

    def plot(self) -> Path:
        """Draws all curves into `out_dir/curves.png`, one panel per group, and returns its path."""
        path = self.out_dir / PLOT_NAME
        plot_log(read_log(self.path), path)
        return path

    def close(self) -> None:
        self._file.close()
        for tracker in self._trackers:
            tracker.close()

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_log(path: Path | str) -> list[dict[str, float]]:
    """Reads a `log.jsonl`: one dict per line, "step" first; null becomes NaN.

    A last line cut short by a killed run is left out.

    Raises:
        ValueError: Another line is not a JSON object with a "step".
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError):
            if number == len(lines):
                break
            raise ValueError(
                f'{path}, line {number}: expected a JSON object with a "step", got {line[:60]!r}.'
            ) from None
        entries.append({"step": step, **{name: math.nan if v is None else float(v) for name, v in entry.items()}})
    return entries


def plot_log(entries: Sequence[Mapping[str, float]], path: Path | str) -> None:
    """Draws the curves of a log as a PNG. Names of one group ("loss/dice", "loss/ce") share a panel."""
    from matplotlib.figure import Figure  # slow to import, and needed only here; a bare Figure needs no display

    groups: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        for name, value in entry.items():
            if name != "step":
                groups[name.split("/")[0]][name].append((entry["step"], value))
    figure = Figure(figsize=(9, 2.8 * max(1, len(groups))), layout="constrained")
    panels = figure.subplots(max(1, len(groups)), sharex=True, squeeze=False)[:, 0]
    for panel, (group, curves) in zip(panels, groups.items(), strict=False):
        for name, points in curves.items():
            _draw_curve(panel, name, np.array(points, dtype=float))
        panel.set_ylabel(group)
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small", ncols=4)
    panels[-1].set_xlabel("step")
    temporary = Path(path).with_suffix(".part.png")
    figure.savefig(temporary, dpi=110)
    os.replace(temporary, path)


def _draw_curve(panel: Axes, name: str, points: np.ndarray) -> None:
    steps, values = points.T
    if len(points) <= SMOOTH_ABOVE:
        panel.plot(steps, values, marker=".", label=name)
        return
    (raw,) = panel.plot(steps, values, linewidth=0.5, alpha=0.3)
    width = len(points) // 50
    mean = np.convolve(values, np.full(width, 1 / width), mode="valid")
    panel.plot(steps[width - 1 :], mean, color=raw.get_color(), label=name)


def _to_line(entry: Mapping[str, float]) -> str:
    return json.dumps({name: value if math.isfinite(value) else None for name, value in entry.items()}) + "\n"
