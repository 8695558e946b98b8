"""The scans of a patient at several dates, each with its result."""

import datetime
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ProtoSegBrainLib.images.formats import read_volume, write_volume
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.result.prediction_files import read_prediction, write_prediction
from ProtoSegBrainLib.segmentation import visits as module
from ProtoSegBrainLib.segmentation.visits import Place, read_visits

DAY = datetime.date(2024, 3, 1)


@pytest.fixture
def places(data):
    return [Place(data / "case_1", DAY), Place(data / "case_2")]


def test_what_has_no_result_is_segmented_and_what_has_one_is_not(places, config, tmp_path):
    said = []
    visits = read_visits(places, [], tmp_path, config, lambda share, _: said.append(share))
    assert [visit.date for visit in visits] == [DAY, None]
    assert {path.name for path in tmp_path.iterdir()} == {"2024-03-01", "scan_2"}
    assert said == sorted(said)
    written = tmp_path / "2024-03-01" / "case_1_seg.nii.gz"
    before = written.stat().st_mtime_ns
    again = read_visits(places, [], tmp_path, config)
    assert written.stat().st_mtime_ns == before
    assert np.array_equal(again[0].prediction.label, visits[0].prediction.label)


def test_a_result_that_a_person_names_is_taken_as_it_is(places, config, tmp_path):
    made = read_visits(places, [], tmp_path / "first", config)[0].prediction
    mended = replace(made, warnings=("mended",))
    write_prediction(mended, tmp_path / "mended")
    visits = read_visits(places, [tmp_path / "mended"], tmp_path / "second", config)
    assert visits[0].prediction.warnings == ("mended",)
    assert not (tmp_path / "second" / "2024-03-01").exists()


def test_a_result_of_other_images_is_named(places, config, tmp_path):
    made = read_visits(places, [], tmp_path / "first", config)[0].prediction
    write_prediction(replace(made, affine=made.affine + np.eye(4, k=3)), tmp_path / "other")
    with pytest.raises(ValueError, match="was made of other images than those of this date"):
        read_visits(places, [tmp_path / "other"], tmp_path / "second", config)


def test_a_result_of_a_former_run_with_other_images_is_made_anew(data, config, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(data / "case_1", mine / "case_1")
    places = [Place(mine / "case_1", DAY), Place(data / "case_2")]
    read_visits(places, [], tmp_path / "out", config)
    for path in (mine / "case_1").glob("*.nii.gz"):
        volume = read_volume(path)
        write_volume(path, Volume(np.roll(volume.array, 2, axis=1), volume.affine))
    visits = read_visits(places, [], tmp_path / "out", config)
    assert np.array_equal(visits[0].prediction.probabilities[0] < 1, visits[0].case.brain)
    assert np.array_equal(read_prediction(tmp_path / "out" / "2024-03-01", "case_1").label, visits[0].prediction.label)


def test_scans_that_are_not_there_are_named(places, config, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_visits([places[0], Place(tmp_path / "nowhere")], [], tmp_path / "out", config)


def test_dicom_of_two_patients_is_refused_before_anything_is_made(places, config, tmp_path, monkeypatch):
    read = module.read_study

    def of_a_patient(scans, *more):
        return replace(read(scans, *more), series={"t1c": SimpleNamespace(patient=scans.name)})

    monkeypatch.setattr(module, "read_study", of_a_patient)
    with pytest.raises(ValueError, match="The scans are of 2 patients") as refused:
        read_visits(places, [], tmp_path / "out", config)
    assert "case_1" not in str(refused.value)
    assert not (tmp_path / "out").exists()
