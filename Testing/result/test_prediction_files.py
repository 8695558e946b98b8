"""A result as files: what they hold, and that nobody finds half of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from by_hand import evidence_for, without_prototypes

from ProtoSegBrainLib.result import prediction_files as module
from ProtoSegBrainLib.result.prediction import Prediction, volumes_ml
from ProtoSegBrainLib.result.prediction_files import fill, read_prediction, size_bytes, write_prediction

AFFINE = np.array([[-1.5, 0, 0.2, 10], [0, 0, 2, -7], [0.1, 3, 0, 5], [0, 0, 0, 1]], float)


@pytest.fixture
def a_prediction(rng: np.random.Generator) -> Prediction:
    probabilities = rng.dirichlet(np.ones(4), size=(6, 5, 4)).transpose(3, 0, 1, 2).astype(np.float32)
    label = probabilities.argmax(axis=0).astype(np.uint8)
    return Prediction(
        case_id="simulated_7",
        label=label,
        probabilities=probabilities,
        similarities=rng.random((5, 3, 3, 2), np.float32),
        similarity_affine=AFFINE @ np.diag([2, 2, 2, 1]),
        affine=AFFINE,
        volumes_ml=volumes_ml(label, AFFINE),
        model={"name": "test", "identity": "abc", "prototype_class": ["background", "NCR", "ED", "ET", "ET"]},
        evidence=evidence_for(["background", "NCR", "ED", "ET", "ET"], 1.3, -0.7),
        device="cpu float32",
        timings_s={"network": 0.5},
        warnings=("A sentence.",),
    )


@pytest.mark.parametrize("convention", ["brats2020", "brats2023", "msd"])
def test_files_come_back_as_they_were(a_prediction: Prediction, tmp_path: Path, convention: str) -> None:
    write_prediction(a_prediction, tmp_path / "new" / "folder", convention)
    back = read_prediction(tmp_path / "new" / "folder")
    np.testing.assert_array_equal(back.label, a_prediction.label)
    np.testing.assert_array_equal(back.similarities, a_prediction.similarities)  # unrounded
    np.testing.assert_allclose(back.probabilities, a_prediction.probabilities, atol=0.51 / 65535)
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(back.similarity_affine, a_prediction.similarity_affine, atol=1e-5)
    assert back.volumes_ml == a_prediction.volumes_ml
    assert back.warnings == ("A sentence.",)
    assert back.simulated


def test_names_codes_and_summary(a_prediction: Prediction, tmp_path: Path) -> None:
    files = write_prediction(a_prediction, tmp_path)
    names = ["prediction.json", "prob.nii.gz", "seg.nii.gz", "sim.nii.gz", "unc.nii.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"simulated_7_{name}" for name in names]
    stored = np.asarray(nib.load(files["seg"]).dataobj)
    np.testing.assert_array_equal(stored == 4, a_prediction.label == 3)
    assert 3 not in stored
    assert nib.load(files["prob"]).shape == (6, 5, 4, 4)
    assert nib.load(files["sim"]).get_data_dtype() == np.float32
    assert b"simulated" in bytes(nib.load(files["seg"]).header["descrip"].item())
    summary = json.loads(files["prediction"].read_text())
    assert summary["label_coding"] == {
        "convention": "brats2020",
        "values": {"0": "background", "1": "NCR", "2": "ED", "4": "ET"},
    }
    assert summary["simulated"] is True
    assert "research use only" in summary["statement"].lower()
    assert summary["files"] == {kind: files[kind].name for kind in ("seg", "prob", "sim", "unc")}
    assert list(summary["timings_s"]) == ["network", "write"]


def test_uncertainty_is_the_entropy_and_with_several_views_their_disagreement(
    a_prediction: Prediction, tmp_path: Path, rng: np.random.Generator
) -> None:
    files = write_prediction(a_prediction, tmp_path / "one view")
    stored = nib.load(files["unc"])
    assert stored.get_data_dtype() == np.uint8
    p = a_prediction.probabilities
    np.testing.assert_allclose(stored.get_fdata(), -(p * np.log(p)).sum(axis=0) / np.log(4), atol=0.51 / 255)
    assert read_prediction(tmp_path / "one view").disagreement is None

    disagreement = rng.random(a_prediction.label.shape, np.float32)
    files = write_prediction(replace(a_prediction, disagreement=disagreement), tmp_path / "two views")
    assert nib.load(files["unc"]).shape == (6, 5, 4, 2)
    back = read_prediction(tmp_path / "two views")
    np.testing.assert_allclose(back.disagreement, disagreement, atol=0.51 / 255)


def test_more_can_be_said_in_the_summary(a_prediction: Prediction, tmp_path: Path) -> None:
    files = fill(tmp_path, a_prediction, settings={"geometry": "qform"})
    assert json.loads(files["prediction"].read_text())["geometry"] == "qform"


def test_the_size_is_guessed_from_the_grid(a_prediction: Prediction, tmp_path: Path) -> None:
    """A BraTS case with 21 prototypes takes 16 MB; with voxels of half the edge there are eight times as many."""
    brats = size_bytes((240, 240, 155), np.eye(4), 21)
    assert 16e6 < brats < 32e6
    finer = size_bytes((480, 480, 310), np.diag([0.5, 0.5, 0.5, 1]), 21)
    assert finer - brats == pytest.approx(7 * 240 * 240 * 155 * module.BYTES_PER_VOXEL)
    files = write_prediction(a_prediction, tmp_path)
    assert sum(path.stat().st_size for path in files.values()) < size_bytes((6, 5, 4), AFFINE, 5)


def test_the_look_of_the_images_comes_back(a_prediction: Prediction, tmp_path: Path) -> None:
    look = {"brain_ml": 1400.0, "noise.t1c": 0.123456}
    write_prediction(replace(a_prediction, look=look), tmp_path)
    assert read_prediction(tmp_path).look == look


def test_one_prototype_keeps_its_axis(a_prediction: Prediction, tmp_path: Path) -> None:
    one = replace(a_prediction, similarities=a_prediction.similarities[:1], evidence=evidence_for(["ET"]))
    write_prediction(one, tmp_path)
    assert read_prediction(tmp_path).similarities.shape == (1, 3, 3, 2)


def test_results_are_not_overwritten_unasked(a_prediction: Prediction, tmp_path: Path) -> None:
    first = write_prediction(a_prediction, tmp_path)["prediction"].read_text()
    with pytest.raises(FileExistsError, match=r"simulated_7_seg\.nii\.gz"):
        write_prediction(a_prediction, tmp_path)
    assert write_prediction(replace(a_prediction, device="mps"), tmp_path, overwrite=True)
    assert read_prediction(tmp_path).device == "mps"
    assert '"cpu float32"' in first
    write_prediction(replace(a_prediction, case_id="another"), tmp_path)  # beside it, not over it
    assert read_prediction(tmp_path, "another").case_id == "another"
    with pytest.raises(ValueError, match="2 cases"):
        read_prediction(tmp_path)


@pytest.mark.parametrize("culprit", ["_seg.nii.gz", "_prob.nii.gz", "_sim.nii.gz"])
def test_a_failed_write_leaves_nothing(
    a_prediction: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, culprit: str
) -> None:
    write = module.write_volume

    def fail(path: Path, *args: object, **kwargs: object) -> None:
        if path.name.endswith(culprit):
            path.write_bytes(b"half")
            raise OSError("No space left on device")
        write(path, *args, **kwargs)  # type: ignore[arg-type]

    old = write_prediction(a_prediction, tmp_path / "old")
    before = {path: path.read_bytes() for path in old.values()}
    monkeypatch.setattr(module, "write_volume", fail)
    with pytest.raises(OSError, match="No space"):
        write_prediction(a_prediction, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(OSError, match="No space"):
        write_prediction(a_prediction, tmp_path / "old", overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before


def test_bad_requests_are_refused(a_prediction: Prediction, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="brats2020"):
        write_prediction(a_prediction, tmp_path / "a", "brats1999")
    assert not (tmp_path / "a").exists()
    with pytest.raises(FileNotFoundError, match="no result"):
        read_prediction(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_prediction(tmp_path / "nowhere")
    (tmp_path / "x_prediction.json").write_text('{"case_id": "x"}')
    with pytest.raises(ValueError, match="lacks"):
        read_prediction(tmp_path)
    (tmp_path / "x_prediction.json").write_text("{")
    with pytest.raises(ValueError, match="not a prediction"):
        read_prediction(tmp_path)


@pytest.mark.parametrize("key", ["label_coding", "files", "volumes_ml", "evidence"])
@pytest.mark.parametrize("value", [None, {}, [1]])
def test_a_damaged_summary_is_bad_input(a_prediction: Prediction, tmp_path: Path, key: str, value: object) -> None:
    path = write_prediction(a_prediction, tmp_path)["prediction"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=r"simulated_7_prediction\.json"):
        read_prediction(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("case_id", 7, "case_id: expected a text; got 7"),
        ("warnings", "none", "warnings: expected a list"),
        ("volumes_ml", {"WT": "large"}, r"volumes_ml\.WT: expected a number; got 'large'"),
        ("files", {"seg": "../seg.nii.gz", "prob": "p.nii.gz"}, r"files\.seg: expected the name of a file"),
        ("files", {"seg": "seg.nii.gz"}, r"files\.prob missing"),
        ("label_coding", {"convention": "mine"}, r"label_coding\.convention: expected brats2020, .*; got 'mine'"),
        ("model", {"name": None}, r"model\.name: expected a text; got None"),
        ("model", {"name": "m", "regions": ["XY"]}, r"model\.regions: expected of WT, TC, ET"),
        ("look", [], "look: expected a section"),
    ],
)
def test_a_wrong_part_of_a_summary_is_named(
    a_prediction: Prediction, tmp_path: Path, key: str, value: object, message: str
) -> None:
    path = write_prediction(a_prediction, tmp_path)["prediction"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=r"simulated_7_prediction\.json is damaged: " + message):
        read_prediction(tmp_path)


def test_images_of_another_result_are_refused(a_prediction: Prediction, tmp_path: Path) -> None:
    files = write_prediction(a_prediction, tmp_path / "a")
    other = replace(a_prediction, similarities=a_prediction.similarities[:4])
    write_prediction(other, tmp_path / "b")["sim"].replace(files["sim"])
    with pytest.raises(ValueError, match=r"do not belong together \(similarities\)"):
        read_prediction(tmp_path / "a")


def test_one_of_several_results_is_named_by_its_case(a_prediction: Prediction, tmp_path: Path) -> None:
    for case_id in ("scan_1", "scan_2", "scan_[12]"):
        write_prediction(replace(a_prediction, case_id=case_id), tmp_path)
    with pytest.raises(ValueError, match=r"3 cases, scan_1, scan_2, scan_\[12\]; say which"):
        read_prediction(tmp_path)
    assert read_prediction(tmp_path, "scan_[12]").case_id == "scan_[12]"
    with pytest.raises(FileNotFoundError, match="of case scan_3"):
        read_prediction(tmp_path, "scan_3")


def test_without_prototypes_there_is_no_file_of_similarities(a_prediction: Prediction, tmp_path: Path) -> None:
    write_prediction(a_prediction, tmp_path)
    mute = without_prototypes(a_prediction, regions=("WT",))
    files = write_prediction(mute, tmp_path, overwrite=True)
    assert "sim" not in files
    assert sorted(tmp_path.iterdir()) == sorted(files.values())  # the older result's similarities are gone
    assert "sim" not in json.loads(files["prediction"].read_text())["files"]
    back = read_prediction(tmp_path)
    assert back.similarities.shape == (0, *mute.label.shape)
    np.testing.assert_allclose(back.similarity_affine, AFFINE, atol=1e-5)
    np.testing.assert_array_equal(back.label, mute.label)
    assert back.evidence.prototype_class == ()
    assert back.evidence.weight.shape == (4, 0)
    assert back.regions == ("WT",)


def test_missing_similarities_of_a_model_with_prototypes_are_missed(a_prediction: Prediction, tmp_path: Path) -> None:
    path = write_prediction(a_prediction, tmp_path)["prediction"]
    summary = json.loads(path.read_text())
    del summary["files"]["sim"]
    path.write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=r"do not belong together \(similarities\)"):
        read_prediction(tmp_path)
