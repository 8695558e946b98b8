from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pointed_case
import pytest
from by_hand import evidence_for, prediction_for, without_prototypes

from ProtoSegBrainLib.correction.embedding import Embedding
from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.correction.teach import teach
from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.network.calibration import Calibration, Familiarity, Normality, RegionReliability
from ProtoSegBrainLib.network.evidence import Neighbour, Prototype
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation import exchange
from ProtoSegBrainLib.segmentation.exchange import receive_prediction, receive_volumes, send_prediction, send_volumes

OBLIQUE = np.array([[-0.9, 0.1, 0.3, 11.5], [0.2, 1.1, -0.1, -1 / 3], [0.1, 0, -3.0, 1e-17], [0, 0, 0, 1]])
ORDERS = ("C", "F", "reversed", "channels last")


def laid_out(array: np.ndarray, order: str) -> np.ndarray:
    """The same numbers in another order in memory."""
    if order == "reversed":
        return np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    if order == "channels last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0)
    return np.array(array, order=order)


@pytest.fixture
def a_prediction(rng: np.random.Generator) -> Prediction:
    """With every field filled, by numbers that no rounding leaves alone."""
    prototype = Prototype(
        1, "ET", "case", (1 / 3, 2.0, -3.0), 11.0, {"t1c": 1 / 7}, 0.1, (0.0, 0.5, 1.0), {"t1n": 0.2}, {"ED": 0.3},
        0.25, 0.9, 0.8, (Neighbour("other", (0.1, 0.2, 0.3), 1e-9),),
    )  # fmt: skip
    classes = enumerate(("background", "ET", "ED"))
    prototypes = tuple(replace(prototype, index=index, class_name=name) for index, name in classes)
    normality = Normality(("x", "y"), (0.1, 0.2), (1.0, 2.0), ((1.0, 0.5), (0.5, 1.0)), 3.3)
    reliability = RegionReliability("WT", 9, 0.01, 0.2, 0.9, 0.88, (0.1, 0.2, 0.3, 0.4, 0.5), 0.05)
    calibration = Calibration((1.0, 1.1, 1.2, 1.3), 0.1, 0.2, (reliability,), Familiarity(normality, normality, 7, 0.5))
    evidence = replace(
        evidence_for(["background", "ET", "ED"], 1 / 3, -0.7), prototypes=prototypes, calibration=calibration
    )
    prediction = prediction_for(rng.normal(0, 5, (3, 4, 3, 5)), evidence, OBLIQUE)
    prediction = replace(prediction, evidence=replace(evidence, reach=0.7))
    return replace(
        prediction,
        timings_s={"network": 1 / 3},
        warnings=("One – sentence.", "Another."),
        disagreement=rng.random(prediction.label.shape, np.float32),
        look={"mean": 1 / 7, "nothing": float("inf")},
        findings=findings(replace(prediction, evidence=evidence_for(["background", "ET", "ED"]))),
    )


def assert_equal(one: object, other: object) -> None:
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other
        assert type(one) is type(other)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float64", ">i2", "bool"])
def test_images_come_back_as_they_were(tmp_path: Path, rng: np.random.Generator, order: str, dtype: str) -> None:
    array = laid_out(rng.integers(0, 200, (3, 4, 5)).astype(dtype), order)
    send_volumes({"t1c": Volume(array, OBLIQUE), "t2f": Volume(array[:2], np.eye(4))}, tmp_path / "new" / "folder")
    back = receive_volumes(tmp_path / "new" / "folder")
    assert [*back] == ["t1c", "t2f"]
    assert_equal(array, back["t1c"].array)
    assert_equal(array[:2], back["t2f"].array)
    assert_equal(OBLIQUE, back["t1c"].affine)


def test_the_order_in_memory_comes_back(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), np.float32).transpose(1, 2, 0)
    send_volumes({"t1c": Volume(array, np.eye(4))}, tmp_path / "a")
    assert receive_volumes(tmp_path / "a")["t1c"].array.strides == array.strides


@pytest.mark.parametrize("order", ORDERS)
def test_a_prediction_comes_back_exactly(a_prediction: Prediction, tmp_path: Path, order: str) -> None:
    a_prediction = replace(a_prediction, probabilities=laid_out(a_prediction.probabilities, order))
    send_prediction(a_prediction, tmp_path / "a")
    back = receive_prediction(tmp_path / "a")
    for field in fields(Prediction):
        if field.name != "evidence":
            assert_equal(getattr(a_prediction, field.name), getattr(back, field.name))
    for field in fields(a_prediction.evidence):
        assert_equal(getattr(a_prediction.evidence, field.name), getattr(back.evidence, field.name))


def test_what_a_prediction_lacks_stays_absent(a_prediction: Prediction, tmp_path: Path) -> None:
    bare = replace(a_prediction, disagreement=None, look={}, findings={}, warnings=())
    send_prediction(bare, tmp_path / "a")
    back = receive_prediction(tmp_path / "a")
    assert (back.disagreement, back.look, back.findings, back.warnings) == (None, {}, {}, ())


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    a_prediction: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = np.save

    def fail(path: Path, *args: object, **kwargs: object) -> None:
        if path.name.startswith("similarities"):
            path.write_bytes(b"half")
            raise OSError("No space left on device")
        save(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(exchange.np, "save", fail)
    with pytest.raises(OSError, match=r"could not be written .*No space left on device.* MB are free there"):
        send_prediction(a_prediction, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_folder_that_is_there_is_left_alone(a_prediction: Prediction, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        send_prediction(a_prediction, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("damage", ["nothing", "no list", "half", "array missing", "field missing", "not JSON"])
def test_what_did_not_arrive_whole_is_refused(a_prediction: Prediction, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "a"
    send_prediction(a_prediction, folder)
    content = json.loads((folder / exchange.CONTENT).read_text())
    if damage == "nothing":
        folder = tmp_path / "b"
    elif damage == "no list":
        (folder / exchange.CONTENT).unlink()
    elif damage == "half":
        path = folder / "probabilities.npy"
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "array missing":
        (folder / "label.npy").unlink()
    elif damage == "field missing":
        del content["values"]["device"]
        (folder / exchange.CONTENT).write_text(json.dumps(content))
    else:
        (folder / exchange.CONTENT).write_text("{")
    with pytest.raises(ValueError, match="does not hold what was sent"):
        receive_prediction(folder)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    send_volumes({"t1c": Volume(np.zeros((2, 2, 2)), np.eye(4))}, tmp_path / "a")
    np.save(tmp_path / "a" / "t1c.npy", np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        receive_volumes(tmp_path / "a")


def test_it_needs_nothing_that_slicer_has_not() -> None:
    code = (
        "import sys, ProtoSegBrainLib.segmentation.exchange, ProtoSegBrainLib.segmentation.client\n"
        "loaded = {'torch', 'nibabel', 'isal', 'skimage', 'SimpleITK', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_a_result_without_prototypes_arrives_as_it_was_sent(a_prediction: Prediction, tmp_path: Path) -> None:
    mute = without_prototypes(a_prediction, regions=("WT",))
    send_prediction(mute, tmp_path / "prediction")
    back = receive_prediction(tmp_path / "prediction")
    assert back.similarities.shape == mute.similarities.shape
    assert back.similarities.dtype == np.float32
    assert back.evidence.to_dict() == mute.evidence.to_dict()
    assert back.evidence.weight.shape == (4, 0)
    assert back.regions == ("WT",)
    np.testing.assert_array_equal(back.probabilities, mute.probabilities)


def test_an_embedding_comes_back_to_half_precision(tmp_path: Path, rng: np.random.Generator) -> None:
    vectors = rng.normal(0, 1, (8, 3, 4, 5)).astype(np.float32)
    sent = Embedding("case", vectors / np.linalg.norm(vectors, axis=0), OBLIQUE, "identity")
    exchange.send_embedding(sent, tmp_path / "a")
    back = exchange.receive_embedding(tmp_path / "a")
    assert (back.case_id, back.model, back.vectors.dtype) == ("case", "identity", np.dtype("float32"))
    np.testing.assert_allclose(back.vectors, sent.vectors, atol=5e-4)
    np.testing.assert_array_equal(back.affine, OBLIQUE)
    (tmp_path / "a" / "vectors.npy").unlink()
    with pytest.raises(ValueError, match="does not hold what was sent"):
        exchange.receive_embedding(tmp_path / "a")


def test_points_of_a_prediction_come_back_exactly(tmp_path: Path) -> None:
    before = pointed_case.prediction()
    point = Point(pointed_case.place(before, 4, 9, 4), "ED")
    sent = teach(before, pointed_case.embedding(before), [point])
    send_prediction(sent, tmp_path / "a")
    assert receive_prediction(tmp_path / "a").evidence.taught == sent.evidence.taught
