"""A result as files, without the application."""

import numpy as np
import pytest
from mrml import OBLIQUE, shown
from ProtoSegBrainScene import resultfiles
from ProtoSegBrainScene.resultfiles import writeResult

from ProtoSegBrainLib.explanation.whatif import whatif
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
