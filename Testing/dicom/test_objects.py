"""What all objects have in common."""

import logging
import sys

import pytest

from ProtoSegBrainLib.dicom import objects


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ImportError, match=r"protosegbrain\[dicom\]"):
        objects.highdicom()


def test_each_header_of_a_series_comes_once(source):
    headers = objects.sources(source.series)
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)
    assert len(headers) in (1, len(source.series.frames))


def test_packages_are_quiet_for_a_while_only(caplog):
    logger = logging.getLogger("highdicom")
    before = logger.level
    with objects.quietly():
        logger.warning("odd header")
    assert logger.level == before
    assert "odd header" not in caplog.text
