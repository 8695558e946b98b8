import io
import json
import math
import time

import numpy as np
import pytest
from PIL import Image

from ProtoSegBrainLib.pictures.tables import MaskedImage, Table
from ProtoSegBrainLib.training.logbook import Logbook, open_trackers, read_log


class RecordingTracker:
    def __init__(self):
        self.seen = []
        self.closed = False

    def log(self, step, values):
        self.seen.append((step, dict(values)))

    def log_picture(self, step, name, path):
        self.seen.append((step, name, path))

    def log_table(self, step, name, table):
        self.seen.append((step, name, table))

    def log_artifact(self, name, files):
        self.seen.append((name, files))

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


@pytest.fixture
def table():
    """One row: a dark slice of 8 x 6 pixels with a white truth of 4 x 4 and a red prediction of one pixel."""
    truth, prediction = np.zeros((2, 8, 6), bool)
    truth[2:6, 1:5], prediction[7, 5] = True, True
    masks = {"truth": (truth, (255, 255, 255)), "prediction": (prediction, (255, 0, 0))}
    return Table(("case", "Dice", "FLAIR"), [("case_1", 0.5, MaskedImage(np.full((8, 6), 40, np.uint8), masks))])


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (5, 4), (10, 20, 30)).save(path)
    return path


def in_the_run(file, text):
    """Whether W&B's service, which writes a moment after the run is finished, has written this."""
    for _ in range(100):
        if text in file.read_bytes():
            return True
        time.sleep(0.1)
    return False


def test_trackers_are_handed_pictures_tables_and_files(tmp_path, table, picture):
    tracker = RecordingTracker()
    with Logbook(tmp_path, trackers=[tracker]) as logbook:
        logbook.log_picture(1, "curves", picture)
        logbook.log_table(2, "held out", table)
        logbook.log_artifact("model", [picture])
        assert logbook.tracked
    assert tracker.seen == [(1, "curves", picture), (2, "held out", table), ("model", [picture])]
    with Logbook(tmp_path) as logbook:
        assert not logbook.tracked


def test_a_masked_image_shows_the_edges_of_its_masks(table):
    outlined = table.rows[0][2].outlined()
    assert (outlined[2, 1:5] == 255).all()
    assert (outlined[3:5, 2:4] == 40).all()  # inside the truth
    assert outlined[7, 5].tolist() == [255, 0, 0]
    assert (outlined[0] == 40).all()


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


def test_tensorboard_shows_pictures_tables_and_the_names_of_files(tmp_path, table, picture):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Logbook(tmp_path, open_trackers(["tensorboard"], tmp_path)) as logbook:
        logbook.log_picture(3, "curves", picture)
        logbook.log_table(3, "held out", table)
        logbook.log_artifact("model", [picture])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = {tag: Image.open(io.BytesIO(events.Images(tag)[0].encoded_image_string)) for tag in events.Tags()["images"]}
    assert {tag: image.size for tag, image in shown.items()} == {"curves": (5, 4), "held out/case_1 0.5": (6, 8)}
    assert shown["held out/case_1 0.5"].getpixel((5, 7)) == (255, 0, 0)
    texts = [events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]]
    assert texts == ["case | Dice\n--- | ---\ncase_1 | 0.5", "- picture.png"]


def test_wandb_writes_an_offline_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with Logbook(tmp_path, open_trackers(["wandb"], tmp_path)) as logbook:
        logbook.log(1, {"loss/dice": 0.25})
    (run,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert in_the_run(run, b"loss/dice")


def test_wandb_keeps_pictures_tables_and_the_model_in_its_offline_run(tmp_path, monkeypatch, table, picture):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    with Logbook(tmp_path, open_trackers(["wandb"], tmp_path)) as logbook:
        logbook.log_picture(1, "curves", picture)
        logbook.log_table(1, "held_out", table)
        logbook.log_artifact("model", [picture])
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (rows,) = folder.glob("files/media/table/held_out_*.table.json")
    written = json.loads(rows.read_text())
    assert written["columns"] == ["case", "Dice", "FLAIR"]
    assert written["data"] == [["case_1", 0.5, "Image"]]
    staged = [file.read_bytes() for file in (tmp_path / "data").rglob("staging/*")]  # what `wandb sync` uploads
    images = [np.asarray(Image.open(io.BytesIO(content))) for content in staged if content.startswith(b"\x89PNG")]
    masks = [mask for mask, _ in table.rows[0][2].masks.values()]
    assert all(any(np.array_equal(mask, image) for image in images) for mask in masks)
    assert len(list((folder / "files/media/images").glob("curves_*.png"))) == 1
    (run,) = folder.glob("run-*.wandb")
    assert in_the_run(run, b"picture.png")
