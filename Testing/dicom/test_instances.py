"""The DICOM objects of a folder, whatever else lies there."""

import os
import sys

import pytest
from dicom_study import HEADERS, small_volume

from ProtoSegBrainLib.dicom.instances import find_instances, holds_dicom, is_dicom_file
from ProtoSegBrainLib.simulation.dicom_series import write_series


@pytest.fixture
def paths(tmp_path):
    return write_series(tmp_path / "in", small_volume(), HEADERS["t2w"], syntax="implicit")


def count(folder):
    return len(list(find_instances(folder)))


def test_nested_folders_and_other_files(paths, tmp_path):
    deep = tmp_path / "in" / "DICOM" / "ST000001" / "SE000002"
    deep.mkdir(parents=True)
    for n, path in enumerate(paths[:4]):
        path.rename(deep / f"IM{n:06}")  # no ending, as on a CD
    (deep / "README").write_text("of the viewer on this CD " * 20)
    (deep / "viewer.exe").write_bytes(bytes(1000))
    (tmp_path / "in" / ".DS_Store").write_bytes(paths[5].read_bytes())
    (tmp_path / "in" / "empty.dcm").write_bytes(b"")
    assert holds_dicom(tmp_path)
    assert count(tmp_path) == 10


def test_headers_without_pixels_know_their_file(paths):
    for header in find_instances(paths[0].parent):
        assert "PixelData" not in header
        assert os.path.basename(header.filename) == f"{header.SOPInstanceUID}.dcm"


@pytest.mark.parametrize("name", ["slice.dcm", "slice", "slice.IMA", "1.2.840.5.77"])
def test_files_without_preamble(paths, name, tmp_path):
    content = paths[0].read_bytes()
    start = content.index(b"\x08\x00\x05\x00", 132)
    bare = tmp_path / "bare" / name
    bare.parent.mkdir()
    bare.write_bytes(content[start:])  # neither preamble nor file meta information
    assert is_dicom_file(bare)
    assert holds_dicom(bare.parent)
    (header,) = find_instances(bare.parent)
    assert header.SeriesDescription == "AX T2 TSE"


def test_a_dicomdir_is_passed_over(paths):
    paths[0].rename(paths[0].with_name("DICOMDIR"))
    assert count(paths[0].parent) == 9


def test_a_header_that_is_cut_off_is_told(paths):
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    unreadable = []
    assert len(list(find_instances(paths[0].parent, unreadable=unreadable))) == 9
    assert unreadable == [paths[3]]


def test_progress_runs_from_the_beginning(paths):
    heard = []
    list(find_instances(paths[0].parent, lambda fraction, message: heard.append((fraction, message))))
    assert heard == [(0.0, "Reading headers, 0 of 10")]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_leads_back_ends(paths, tmp_path):
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in", target_is_directory=True)
    assert count(tmp_path) == 10


def test_no_dicom(tmp_path):
    (tmp_path / "a.nii").write_bytes(bytes(500))
    (tmp_path / "notes").write_text("x" * 500)
    assert not holds_dicom(tmp_path)
    assert count(tmp_path) == 0
    assert not is_dicom_file(tmp_path / "not there.dcm")


def test_what_to_install_is_said(paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"protosegbrain\[dicom\]"):
        count(paths[0].parent)
