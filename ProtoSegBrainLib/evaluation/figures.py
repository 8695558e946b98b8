"""Which figures there are of a run and of a set of predictions, and the files they go to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ProtoSegBrainLib.evaluation.agreement import compare_all, ranked
from ProtoSegBrainLib.evaluation.dashboard import draw_dashboard
from ProtoSegBrainLib.evaluation.failures import draw_failures, write_failures
from ProtoSegBrainLib.evaluation.pairs import PairReading, pair_up, read_pair
from ProtoSegBrainLib.pictures.case_sheets import compared, draw_sheet, write_sweep
from ProtoSegBrainLib.pictures.run_figures import draw_curves, draw_dynamics
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.training.logbook import LOG_NAME, read_log


def draw_run(run: Path | str, out: Path | str) -> dict[str, Path]:
    """``curves.png`` and ``dynamics.png`` of a training run.

    Args:
        run: Folder of the run, or its log.
        out: Folder of the pictures; made if absent.

    Raises:
        FileNotFoundError: There is no log.
        ValueError: The log is damaged.
    """
    log, out = Path(run), Path(out)
    log = log / LOG_NAME if log.is_dir() else log
    if not log.is_file():
        raise FileNotFoundError(f"There is no log {log}; expected the folder of a run of train, or its {LOG_NAME}.")
    entries = read_log(log)
    out.mkdir(parents=True, exist_ok=True)
    return {
        "curves": draw_curves(entries, out / "curves.png"),
        "dynamics": draw_dynamics(entries, out / "dynamics.png"),
    }


@dataclass(frozen=True)
class PredictionFigures:
    """What was drawn of predictions.

    Attributes:
        files: By what they show.
        failed: Why cases could not be compared, by case.
        warnings: What a user should know of the others, by case.
    """

    files: dict[str, Path]
    failed: dict[str, str]
    warnings: dict[str, tuple[str, ...]]


def draw_predictions(
    data: Path | str,
    predictions: Path | str,
    out: Path | str,
    on_progress: Progress = lambda _fraction, _message: None,
    *,
    reading: PairReading | None = None,
) -> PredictionFigures:
    """Dashboard, failures (picture and CSV), sheets of the best, a typical and the worst case, a sweep of the typical.

    The typical case has the median of the mean Dice scores; of a single case, all three sheets show it.

    Args:
        data: Folder with a folder per case, labels included.
        predictions: What ``segment`` or another program wrote, as ``evaluate`` takes it.
        out: Folder of the figures; made if absent. Older ones are replaced.
        on_progress: Called with a fraction from 0 to 1 and what is being done.
        reading: What the files leave open.

    Raises:
        FileNotFoundError: No such folder, or no prediction for any case.
        ValueError: No prediction belongs to its case.
    """
    pairs, _ = pair_up(data, predictions)
    came = compare_all(pairs, reading, lambda fraction, message: on_progress(0.7 * fraction, message))
    agreements, out = came.results, Path(out)
    out.mkdir(parents=True, exist_ok=True)
    on_progress(0.7, "Drawing")
    files = {
        "dashboard": draw_dashboard(agreements, out / "dashboard.png"),
        "failures": draw_failures(agreements, out / "failures.png"),
        "failures_table": write_failures(agreements, out / "failures.csv"),
    }
    order = [case.case_id for case in ranked(agreements)]
    places = {case.case_id: (case, file) for case, file in pairs}
    chosen = {"best": order[0], "typical": order[len(order) // 2], "worst": order[-1]}
    for number, (what, case_id) in enumerate(chosen.items()):
        on_progress(0.75 + 0.08 * number, f"Drawing {case_id}")
        pair = read_pair(*places[case_id], reading)
        shown = compared(pair.case, pair.predicted)
        files[f"sheet_{what}"] = draw_sheet(shown, f"The {what} case", out / f"sheet_{what}.png")
        if what == "typical":
            files["sweep"] = write_sweep(shown, out / f"sweep_{case_id}.gif")
    on_progress(1.0, "Done")
    return PredictionFigures(files, came.failed, came.warnings)
