from dataclasses import replace

import numpy as np
import pytest
from by_hand import evidence_for, without_prototypes

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.pictures.overview import _axial_window, draw_prediction, most_telling_prototype
from ProtoSegBrainLib.result.prediction import Prediction, volumes_ml

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])  # left, posterior, superior: axes that must be flipped for the picture


@pytest.fixture
def case():
    images = np.zeros((4, 16, 20, 12), np.float32)
    images[:, 3:13, 4:17, 2:11] = np.random.default_rng(0).uniform(1, 2, (10, 13, 9))
    label = np.zeros(images.shape[1:], np.uint8)
    label[5:10, 6:12, 7] = 2
    label[6:9, 7:10, 7] = 3
    label[7, 8, 7] = 1
    return Case("simulated_0", images, AFFINE, label, "brats2020", (), {})


@pytest.fixture
def prediction(case):
    """Two prototypes per tumour class, the second of each similar exactly where its class is."""
    label = case.label
    prototype_class = [name for name in CLASSES for _ in range(2)]
    similarities = np.zeros((8, *label.shape), np.float32)
    for channel in range(1, 8, 2):
        similarities[channel] = label == CLASSES.index(prototype_class[channel])
    return Prediction(
        case_id=case.case_id,
        label=label,
        probabilities=np.zeros((4, *label.shape), np.float32),
        similarities=similarities,
        similarity_affine=AFFINE,
        affine=AFFINE,
        volumes_ml=volumes_ml(label, AFFINE),
        model={"name": "made by hand", "prototype_class": prototype_class},
        evidence=evidence_for(prototype_class),
        device="cpu",
        timings_s={},
    )


@pytest.mark.parametrize(("name", "channel"), [("NCR", 3), ("ED", 5), ("ET", 7)])
def test_the_prototype_that_marks_its_class_is_shown(prediction, name, channel):
    assert most_telling_prototype(prediction, name) == channel


def test_where_nothing_was_predicted_the_first_prototype_is_shown(prediction):
    healthy = replace(prediction, label=np.zeros_like(prediction.label))
    assert most_telling_prototype(healthy, "ED") == 4


def test_a_class_without_prototypes_is_an_error(prediction):
    without = replace(prediction, model={"name": "m", "prototype_class": ["NCR"] * 8})
    with pytest.raises(ValueError, match="no prototype of class ET"):
        most_telling_prototype(without, "ET")


def test_the_slice_with_most_tumour_is_shown_and_cropped_to_the_brain(case):
    corner, shape = _axial_window(case.label, case.images[0] != 0)
    assert (corner[2], shape) == (7, (16, 20, 1))  # the brain fills the grid but for less than the margin
    small = np.zeros((64, 64, 12), bool)
    small[30:34, 20:24] = True
    corner, shape = _axial_window(np.zeros_like(small, np.uint8), small)
    assert (corner[:2], shape) == ((24, 14), (16, 16, 1))


@pytest.mark.parametrize("tumour", [True, False])
def test_a_picture_is_written_and_marked_as_simulated(case, prediction, tumour, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    said = []
    text = Figure.text
    monkeypatch.setattr(Figure, "text", lambda self, x, y, s, **style: (said.append(s), text(self, x, y, s, **style)))
    shown = prediction if tumour else replace(prediction, label=np.zeros_like(prediction.label))
    path = draw_prediction(case, shown, tmp_path / "picture.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    assert any("SIMULATED" in words for words in said)


def test_the_patients_right_is_on_the_left(case, prediction, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    imshow = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, x, **style: (drawn.append(x), imshow(self, x, **style))[1])
    images = case.images.copy()
    images[:, 3, 4, 7] = 50.0  # low i and low j of a left-posterior-superior grid: the patient's right, anterior
    draw_prediction(replace(case, images=images), prediction, tmp_path / "picture.png")
    row, column = np.unravel_index(np.argmax(drawn[0]), drawn[0].shape)
    assert column < drawn[0].shape[1] / 2  # left in the picture
    assert row > drawn[0].shape[0] / 2  # rows count upwards (origin "lower"): top of the picture


def test_without_prototypes_the_probabilities_are_shown(case, prediction, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn, titles = [], []
    imshow, title = Axes.imshow, Axes.set_title
    monkeypatch.setattr(Axes, "imshow", lambda self, x, **style: (drawn.append(x), imshow(self, x, **style))[1])
    monkeypatch.setattr(Axes, "set_title", lambda self, s, **style: (titles.append(s), title(self, s, **style))[1])
    likely = np.stack([case.label == index for index in range(4)]).astype(np.float32)
    mute = without_prototypes(replace(prediction, probabilities=likely))
    draw_prediction(case, mute, tmp_path / "picture.png")
    assert titles[2:] == ["probability of NCR", "probability of ED", "probability of ET"]
    maps = [x for x in drawn if isinstance(x, np.ma.MaskedArray)]
    assert [int(one.sum()) for one in maps] == [int((case.label[..., 7] == index).sum()) for index in (1, 2, 3)]
