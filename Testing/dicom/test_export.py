"""All objects of a result in a folder: valid, of the same patient and study, and nothing of the source touched."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from ProtoSegBrainLib.dicom.export import read_reference, write_dicom


def written(source, folder, **options):
    folder.mkdir()
    return write_dicom(folder, source.prediction, source.series, **options)


def test_the_files_are_what_was_asked_for(axial, tmp_path):
    files = written(axial, tmp_path / "out")
    assert {kind: path.name for kind, path in files.items()} == {
        "seg": "seg.dcm", "report": "report.dcm", "uncertainty": "uncertainty.dcm",
    }  # fmt: skip
    more = written(axial, tmp_path / "more", maps=True)
    assert [kind for kind in more if kind not in files] == ["similarity_00", "similarity_01"]


def test_they_are_of_the_patient_and_study_of_the_source(source, tmp_path):
    header = source.series.frames[0].header
    for path in written(source, tmp_path / "out", maps=True).values():
        made = pydicom.dcmread(path)
        assert made.PatientID == header.PatientID
        assert made.StudyInstanceUID == header.StudyInstanceUID
        assert made.SeriesInstanceUID != header.SeriesInstanceUID
        assert "research use only" in made.SeriesDescription
        if "FrameOfReferenceUID" in made:
            assert made.FrameOfReferenceUID == header.FrameOfReferenceUID


def test_every_series_and_object_has_a_name_of_its_own(axial, tmp_path):
    made = [pydicom.dcmread(path) for path in written(axial, tmp_path / "out", maps=True).values()]
    assert len({each.SOPInstanceUID for each in made}) == len({each.SeriesInstanceUID for each in made}) == len(made)
    assert len({each.SeriesNumber for each in made}) == len(made)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_they_are_valid(source, tmp_path):
    for region in source.prediction.findings["regions"].values():
        region.update(interval_ml=[0.5, 9.5], coverage=0.9)
    for path in written(source, tmp_path / "out", maps=True).values():
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert not errors, path.name


def test_a_result_without_tumour_has_a_report_and_no_segmentation(axial, tmp_path):
    label = np.zeros_like(axial.prediction.label)
    none = replace(axial.prediction, label=label, volumes_ml=dict.fromkeys(axial.prediction.volumes_ml, 0.0))
    none = replace(none, findings={**none.findings, "enhancing_diameters_mm": None})
    files = written(axial._replace(prediction=none), tmp_path / "out")
    assert set(files) == {"report", "uncertainty"}


def test_another_grid_is_refused(axial, tmp_path):
    moved = axial.prediction.affine.copy()
    moved[0, 3] += 3
    with pytest.raises(ValueError, match=r"p1.*series 12.*grid"):
        written(axial._replace(prediction=replace(axial.prediction, affine=moved)), tmp_path / "out")


def test_nothing_is_written_where_the_images_lie(axial):
    before = sorted(axial.folder.iterdir())
    with pytest.raises(FileExistsError, match="series 12"):
        write_dicom(axial.folder, axial.prediction, axial.series)
    assert sorted(axial.folder.iterdir()) == before
    below = axial.folder / "results"
    below.mkdir()
    with pytest.raises(FileExistsError, match="lies in"):
        write_dicom(below, axial.prediction, axial.series)


# -- a reference ---------------------------------------------------------------------------------------------------


def test_the_one_series_of_a_folder_is_the_reference(source):
    assert read_reference(source.folder).uid == source.series.uid


def test_what_is_no_reference_is_refused(tmp_path):
    from dicom_study import write_study

    with pytest.raises(FileNotFoundError, match="no folder"):
        read_reference(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="--dicom"):
        read_reference(tmp_path / "empty")
    write_study(tmp_path / "study", but=("t1c",))
    with pytest.raises(ValueError, match=r"3 series.*T1ce alone"):
        read_reference(tmp_path / "study")
    write_study(tmp_path / "whole")
    assert read_reference(tmp_path / "whole").role.role == "t1c"
