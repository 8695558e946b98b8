import json
import math
import time
from pathlib import Path

import pytest

from ProtoSegBrainLib.logbook import Logbook, open_trackers, plot_log, read_log


class RecordingTracker:
    def __init__(self):
        self.seen = []
        self.closed = False

    def log(self, step, values):
        self.seen.append((step, dict(values)))

    def close(self):
        self.closed = True


def test_values_are_json_lines_that_read_back(tmp_path):
    with Logbook(tmp_path) as logbook:
        logbook.log(1, {"loss/total": 0.1 + 0.2, "lr": 1e-3})
        logbook.log(2, {"dice/WT": 1})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"step": 1, "loss/total": 0.1 + 0.2, "lr": 1e-3}
    assert read_log(logbook.path) == [{"step": 1, "loss/total": 0.1 + 0.2, "lr": 1e-3}, {"step": 2, "dice/WT": 1.0}]


def test_a_line_is_on_disk_before_the_next_step(tmp_path):
    logbook = Logbook(tmp_path)
    logbook.log(7, {"loss": 2.0})
    assert read_log(logbook.path) == [{"step": 7, "loss": 2.0}]
    logbook.close()


def test_nan_is_valid_json_and_reads_back_as_nan(tmp_path):
    with Logbook(tmp_path) as logbook:
        logbook.log(0, {"loss": float("nan")})
    assert logbook.path.read_text() == '{"step": 0, "loss": null}\n'
    assert math.isnan(read_log(logbook.path)[0]["loss"])


def test_resuming_drops_what_will_be_repeated_and_a_line_cut_short(tmp_path):
    with Logbook(tmp_path) as logbook:
        for step in range(6):
            logbook.log(step, {"loss": float(step)})
    with logbook.path.open("a") as file:
        file.write('{"step": 6, "lo')
    with Logbook(tmp_path, resume_step=4) as logbook:
        logbook.log(4, {"loss": 40.0})
    assert [line["loss"] for line in read_log(logbook.path)] == [0.0, 1.0, 2.0, 3.0, 40.0]


def test_without_resuming_the_log_starts_anew(tmp_path):
    for loss in (1.0, 2.0):
        with Logbook(tmp_path) as logbook:
            logbook.log(0, {"loss": loss})
    assert read_log(logbook.path) == [{"step": 0, "loss": 2.0}]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0}\nnonsense\n{"step": 1}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_log(path)


@pytest.mark.parametrize("steps", [0, 1, 300])
def test_curves_are_drawn_whatever_their_length(tmp_path, steps):
    with Logbook(tmp_path) as logbook:
        for step in range(steps):
            logbook.log(step, {"loss/dice": 1 / (step + 1), "loss/ce": 2 / (step + 1), "lr": 0.1})
        picture = logbook.plot()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "log.jsonl"]


def test_each_group_has_its_panel(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (figures.append(self), Path(path).touch()))
    plot_log([{"step": 0, "loss/dice": 1.0, "loss/ce": 2.0, "lr": 0.1}], tmp_path / "curves.png")
    assert [(panel.get_ylabel(), len(panel.lines)) for panel in figures[0].axes] == [("loss", 2), ("lr", 1)]


def test_trackers_get_the_same_values_and_are_closed(tmp_path):
    tracker = RecordingTracker()
    with Logbook(tmp_path, trackers=[tracker]) as logbook:
        logbook.log(3, {"loss": 0.5})
    assert tracker.seen == [(3, {"loss": 0.5})]
    assert tracker.closed


def test_an_unknown_tracker_is_an_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="'mlflow'; expected one of tensorboard, wandb"):
        open_trackers(["mlflow"], tmp_path)


def test_tensorboard_writes_the_values(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Logbook(tmp_path, open_trackers(["tensorboard"], tmp_path)) as logbook:
        logbook.log(5, {"loss/dice": 0.25})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/dice")] == [(5, 0.25)]


def test_wandb_writes_an_offline_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with Logbook(tmp_path, open_trackers(["wandb"], tmp_path)) as logbook:
        logbook.log(1, {"loss/dice": 0.25})
    (run,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    for _ in range(100):  # its service writes a moment after the run is finished
        if b"loss/dice" in run.read_bytes():
            return
        time.sleep(0.1)
    pytest.fail("the value is not in the file of the run")
