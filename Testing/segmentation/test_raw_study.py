"""From the scanner and back: a simulated head as DICOM becomes a result, on its grids and as DICOM; nothing is real."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results_folder import rows

from ProtoSegBrainLib.dicom.study import StudyChoice
from ProtoSegBrainLib.images.formats import read_volume
from ProtoSegBrainLib.images.preparation import Preparation
from ProtoSegBrainLib.images.volume import Volume, same_grid
from ProtoSegBrainLib.preparation import prepare as preparation
from ProtoSegBrainLib.preparation.alignment import AlignmentConfig
from ProtoSegBrainLib.preparation.prepare import PreparationConfig
from ProtoSegBrainLib.preparation.study import is_dicom, list_places, read_study
from ProtoSegBrainLib.result.prediction_files import read_prediction
from ProtoSegBrainLib.segmentation.folder import segment_folder
from ProtoSegBrainLib.segmentation.job import JobConfig
from ProtoSegBrainLib.segmentation.native import NativeConfig
from ProtoSegBrainLib.segmentation.predict import PredictConfig
from ProtoSegBrainLib.simulation.raw import RawConfig, RawStudy, simulate_raw, write_raw, write_raw_dicom

pytest.importorskip("highdicom")
QUICKLY = PreparationConfig(alignment=AlignmentConfig(grids_mm=(8.0,), samples=(5000,), steps_mm=(8.0,), iterations=20))


@pytest.fixture(scope="module")
def raw() -> RawStudy:
    return simulate_raw(1, RawConfig(voxel_mm=4.0))


@pytest.fixture(scope="module")
def export(raw: RawStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came from the archive: one study, with series that are none of the four."""
    return write_raw_dicom(raw, tmp_path_factory.mktemp("export")).parent


@pytest.fixture(scope="module")
def config(model: Path) -> JobConfig:
    """Labels on the grid of FLAIR, too."""
    return JobConfig(
        model=model,
        report=False,
        preparation=QUICKLY,
        native=NativeConfig(on=("flair",)),
        predict=PredictConfig(device="cpu"),
    )


@pytest.fixture(scope="module", autouse=True)
def known_brain(raw: RawStudy) -> Iterator[None]:
    """In place of a network, which wants finer images."""

    def find(t1c: Volume) -> tuple[Volume, str]:
        assert t1c.array.shape == raw.brain.array.shape
        flipped = np.sign((np.linalg.inv(t1c.affine) @ raw.brain.affine)[2, 2]) < 0
        return Volume(raw.brain.array[:, :, ::-1] if flipped else raw.brain.array, t1c.affine), "known"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "find_brain", find)
        yield


@pytest.fixture(scope="module")
def done(export: Path, config: JobConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its results."""
    out = tmp_path_factory.mktemp("out")
    assert segment_folder(export, out, config).failed == {}
    return out


def test_a_folder_of_dicom_goes_all_the_way(export: Path, done: Path) -> None:
    (case_id,) = rows(done)
    assert case_id.startswith("study_")
    said = Preparation.from_dict(read_prediction(done).preparation)
    assert said.brain == "known"
    assert set(said.moves) == {"t1n", "t2w", "t2f"}
    assert set(said.series) == {"t1n", "t1c", "t2w", "t2f"}
    volumes = read_study(export).volumes
    for ending, role in (("seg", "t1c"), ("brain", "t1c"), ("seg_on_flair", "t2f")):
        written = read_volume(done / f"{case_id}_{ending}.nii.gz")
        assert same_grid(written, volumes[role].shape, volumes[role].affine, 0.01)
    kinds = {path.name for path in (done / f"{case_id}_dicom").iterdir()}
    assert kinds - {"seg.dcm"} == {"report.dcm", "uncertainty.dcm"}


def test_done_is_done_and_asked_for_otherwise_it_is_another_result(export: Path, config: JobConfig, done: Path) -> None:
    assert segment_folder(export, done, config).n_before == 1
    (sentence,) = segment_folder(export, done, replace(config, native=NativeConfig())).failed.values()
    assert "already holds results" in sentence


def test_what_was_asked_for_is_in_the_json_file(done: Path) -> None:
    (path,) = done.glob("*_prediction.json")
    summary = json.loads(path.read_text())
    assert summary["asked"]["on"] == ["flair"]
    assert summary["files"]["brain"].endswith("_brain.nii.gz")


def test_neither_names_nor_numbers_of_patients_are_in_the_files(done: Path) -> None:
    (summary,) = done.glob("*_prediction.json")
    text = summary.read_text() + (done / "manifest.csv").read_text() + " ".join(p.name for p in done.rglob("*"))
    assert "SIMULATED-1" not in text


def test_cases_are_named_by_the_number_of_the_patient_where_that_is_asked_for(export: Path) -> None:
    (place,) = list_places(export, StudyChoice(id_from="patient-id"))
    assert place.case_id == "SIMULATED-1"


def test_the_same_study_as_files_gives_the_same(raw: RawStudy, export: Path, tmp_path: Path) -> None:
    from_dicom, from_files = read_study(export), read_study(write_raw(raw, tmp_path))
    for role, volume in from_files.volumes.items():
        other = from_dicom.volumes[role]
        assert sorted(volume.array.ravel()) == sorted(other.array.ravel())
    assert from_files.series == {}


def test_a_study_that_lacks_an_image_fails_by_name_and_the_others_are_done(
    raw: RawStudy, export: Path, config: JobConfig, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(export, data / "whole")
    other = simulate_raw(2, RawConfig(voxel_mm=4.0))
    broken = write_raw_dicom(other, data / "broken")
    for folder in broken.glob("series_4"):
        shutil.rmtree(folder)
    assert len(list_places(data)) == 2
    summary = segment_folder(data, tmp_path / "out", config)
    (sentence,) = summary.failed.values()
    assert "FLAIR" in sentence
    assert len(summary.entries) == 2


def test_one_file_of_a_study_means_its_folder(export: Path, tmp_path: Path) -> None:
    shutil.copytree(export, tmp_path / "disc")
    (tmp_path / "disc" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert read_study(tmp_path / "disc" / "DICOMDIR").case_id == read_study(export).case_id


def test_files_and_dicom_are_told_apart(raw: RawStudy, export: Path, data: Path, tmp_path: Path) -> None:
    assert is_dicom(export)
    assert not is_dicom(data)
    assert not is_dicom(data / "case_1")
    assert not is_dicom(tmp_path)
    assert not is_dicom(write_raw(raw, tmp_path))


def test_one_mask_does_not_fit_many_cases(export: Path, config: JobConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one by one"):
        segment_folder(
            export, tmp_path, replace(config, preparation=PreparationConfig(brain_mask=tmp_path / "mask.nii.gz"))
        )
