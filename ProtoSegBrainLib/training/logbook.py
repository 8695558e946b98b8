"""What a training run writes down: JSON lines, a picture of the curves, and optional trackers.

`log.jsonl` is the record; the picture and the trackers are views of the same values. One line is one call of
`Logbook.log`: `{"step": 12, "loss/total": 0.81, "lr": 0.001}`. The part of a name before "/" groups the curves.
Trackers can be given pictures, tables and files, too; what they are made from lies in the run's folder anyway.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.pictures.run_figures import draw_curves
from ProtoSegBrainLib.pictures.tables import MaskedImage, Table

LOG_NAME = "log.jsonl"
PLOT_NAME = "curves.png"


class Tracker(Protocol):
    """A place that shows a run elsewhere. It is never read back."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Values of one step."""

    def log_picture(self, step: int, name: str, path: Path) -> None:
        """A PNG."""

    def log_table(self, step: int, name: str, table: Table) -> None:
        """Rows with images."""

    def log_artifact(self, name: str, files: Sequence[Path]) -> None:
        """Files that belong together, such as the model and its card; they must not change afterwards."""

    def close(self) -> None:
        """Nothing follows."""


class TensorBoardTracker:
    """Writes event files into `out_dir/tensorboard`; `tensorboard --logdir out_dir` shows them."""

    def __init__(self, out_dir: Path, resume_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError(
                "The tracker 'tensorboard' needs the package tensorboard: pip install \"protosegbrain[trackers]\""
            ) from error
        # purge_step hides what an earlier, killed run wrote at or after the step from which this one repeats it.
        purge_step = resume_step if resume_step > 0 else None
        self._writer = SummaryWriter(log_dir=str(Path(out_dir) / "tensorboard"), purge_step=purge_step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def log_picture(self, step: int, name: str, path: Path) -> None:
        from PIL import Image

        self._writer.add_image(name, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")

    def log_table(self, step: int, name: str, table: Table) -> None:
        """A text with the words and numbers, and a picture per row: its images side by side, with outlines."""
        lines = []
        for row in table.rows:
            plain = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row if not _is_image(cell)]
            lines.append(" | ".join(plain))
            images = [cell.outlined() for cell in row if isinstance(cell, MaskedImage)]
            if images:
                strip = np.concatenate(images, axis=1)
                self._writer.add_image(f"{name}/{' '.join(plain[:3])}", strip, step, dataformats="HWC")
        if table.rows:
            names = [column for column, cell in zip(table.columns, table.rows[0], strict=True) if not _is_image(cell)]
            text = "\n".join([" | ".join(names), " | ".join("---" for _ in names), *lines])
            self._writer.add_text(name, text, step)

    def log_artifact(self, name: str, files: Sequence[Path]) -> None:
        """Event files hold no files; this says where they are, relative to the run."""
        self._writer.add_text(f"artifacts/{name}", "\n".join(f"- {file.name}" for file in files))

    def close(self) -> None:
        self._writer.close()


class WandbTracker:
    """Logs to Weights & Biases, offline unless the environment variable WANDB_MODE says otherwise.

    Offline runs lie in `out_dir/wandb`; `wandb sync` uploads them later. Until then the images of tables wait where the
    environment variable WANDB_DATA_DIR says, or else in W&B's own folder of the user, and models where they are.
    """

    def __init__(self, out_dir: Path, resume_step: int = 0) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ValueError(
                "The tracker 'wandb' needs the package wandb: pip install \"protosegbrain[trackers]\""
            ) from error
        self._run = wandb.init(
            project="protosegbrain",
            name=f"{Path(out_dir).resolve().name}-from-step-{resume_step}",
            dir=str(out_dir),
            mode=None if "WANDB_MODE" in os.environ else "offline",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def log_picture(self, step: int, name: str, path: Path) -> None:
        import wandb

        self._run.log({name: wandb.Image(str(path))}, step=step)

    def log_table(self, step: int, name: str, table: Table) -> None:
        import wandb

        rows = [[_for_wandb(cell) if isinstance(cell, MaskedImage) else cell for cell in row] for row in table.rows]
        self._run.log({name: wandb.Table(columns=list(table.columns), data=rows)}, step=step)

    def log_artifact(self, name: str, files: Sequence[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(name, type="model")
        for file in files:
            artifact.add_file(str(file), policy="immutable", skip_cache=True)  # no second copy on this machine
        self._run.log_artifact(artifact)

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, type[TensorBoardTracker] | type[WandbTracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
}


def _for_wandb(image: MaskedImage) -> Any:
    """A grey image whose masks can be turned on and off in the browser."""
    import wandb

    masks = {
        name: {"mask_data": mask.astype(np.uint8), "class_labels": {0: "none", 1: name}}
        for name, (mask, _) in image.masks.items()
    }
    return wandb.Image(image.grey, masks=masks)


def _is_image(cell: str | float | MaskedImage) -> bool:
    return isinstance(cell, MaskedImage)


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

    def log_picture(self, step: int, name: str, path: Path) -> None:
        """Hands a PNG to the trackers."""
        for tracker in self._trackers:
            tracker.log_picture(int(step), name, path)

    def log_table(self, step: int, name: str, table: Table) -> None:
        """Hands a table to the trackers."""
        for tracker in self._trackers:
            tracker.log_table(int(step), name, table)

    def log_artifact(self, name: str, files: Sequence[Path]) -> None:
        """Hands files that will not change any more to the trackers."""
        for tracker in self._trackers:
            tracker.log_artifact(name, files)

    @property
    def tracked(self) -> bool:
        """Whether there is any tracker: tables and pictures for them take time to make."""
        return bool(self._trackers)

    def plot(self) -> Path:
        """Draws all curves into `out_dir/curves.png`, one panel per group, and returns its path."""
        return draw_curves(read_log(self.path), self.out_dir / PLOT_NAME)

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


def _to_line(entry: Mapping[str, float]) -> str:
    return json.dumps({name: value if math.isfinite(value) else None for name, value in entry.items()}) + "\n"
