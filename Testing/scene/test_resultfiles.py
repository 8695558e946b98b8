"""A result as files, without the application."""

import nibabel as nib
import numpy as np
import pytest
from mrml import OBLIQUE, shown
from ProtoSegBrainScene import resultfiles
from ProtoSegBrainScene.grid import voxelsOf
from ProtoSegBrainScene.moves import showAligned
from ProtoSegBrainScene.result import inputsOf
from ProtoSegBrainScene.resultfiles import earlierFiles, writeResult

from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.images.preparation import Move, Preparation
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.result.prediction_files import read_prediction

LARGE = OBLIQUE @ np.diag([5.0, 5.0, 5.0, 1.0])
"""The images are read as any others are, so they need a head's field of view."""


def test_what_is_shown_is_written_with_its_findings(tmp_path):
    _context, _, prediction, nodes = shown(LARGE)
    changed = whatif(prediction, [3])
    files = writeResult(nodes, changed, tmp_path)
    assert sorted(files.values()) == sorted(tmp_path.iterdir())
    assert "<html" in files["report"].read_text()
    written = read_prediction(tmp_path)
    np.testing.assert_array_equal(written.label, changed.label)
    assert written.findings["regions"]["ET"]["volume_ml"] == 0


def test_a_report_that_fails_takes_the_other_files_with_it(tmp_path, monkeypatch):
    _context, _, prediction, nodes = shown(LARGE)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(resultfiles, "write_report", full)
    with pytest.raises(OSError, match="No space left"):
        writeResult(nodes, prediction, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_prepared_result_is_written_with_its_images_aligned_its_mask_and_its_transforms(tmp_path, monkeypatch):
    turn = np.array([[0.8, -0.6, 0, 4.0], [0.6, 0.8, 0, -3.0], [0, 0, 1, 2.0], [0, 0, 0, 1]])
    moves = {"t1n": Move(np.eye(4), 0, 0, 1, 1), "t2w": Move(np.eye(4), 0, 0, 1, 1), "t2f": Move(turn, 5, 3, 1, 0.5)}
    said = Preparation("with skull, on four grids", moves, "a network", 1300.0)
    _context, inputs, prediction, nodes = shown(LARGE, preparation=said.to_dict())
    showAligned(nodes, inputsOf(nodes))
    cases = []
    monkeypatch.setattr(resultfiles, "write_report", lambda case, _, path: (cases.append(case), path.touch(), path)[-1])
    files = writeResult(nodes, prediction, tmp_path)
    (case,) = cases
    brain = prediction.probabilities[0] < 1
    np.testing.assert_allclose(case.affine, LARGE)
    np.testing.assert_array_equal(case.mask, brain)
    np.testing.assert_allclose(case.originals[3].affine, turn @ LARGE)
    expected = resample(Volume(voxelsOf(inputs["t2f"]), turn @ LARGE), brain.shape, LARGE, order=1)
    np.testing.assert_allclose(case.images[3], expected.array * brain, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(nib.load(files["brain"]).dataobj) > 0, brain)
    assert files["flair_to_t1ce"].name == "by_hand_flair_to_t1ce.tfm"
    assert read_prediction(tmp_path).preparation == said.to_dict()
    assert set(earlierFiles("by_hand", tmp_path)) == {path.name for path in files.values()}
