"""Maps come back exact, where they were."""

import highdicom
import numpy as np
import pytest

from ProtoSegBrainLib.dicom.parametric_map import similarity_map, uncertainty_map
from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume, resample
from ProtoSegBrainLib.result.uncertainty import entropy


def read_back(made, path, shape, affine) -> np.ndarray:
    made.save_as(path)
    volume = highdicom.imread(path).get_volume(apply_real_world_transform=False)
    return resample(Volume(volume.array, LPS_TO_RAS @ volume.affine), shape, affine, order=0).array


def test_the_uncertainty_is_that_of_the_result(source, tmp_path):
    prediction = source.prediction
    made = uncertainty_map(prediction, source.series)
    found = read_back(made, tmp_path / "map.dcm", prediction.label.shape, prediction.affine)
    np.testing.assert_array_equal(found, entropy(prediction.probabilities).astype(np.float32))
    assert made.BodyPartExamined == "BRAIN"


@pytest.mark.parametrize("index", [0, 1])
def test_similarities_are_unrounded_on_their_own_grid(axial, index, tmp_path):
    prediction = axial.prediction
    made = similarity_map(prediction, axial.series, index)
    shape = prediction.similarities.shape[1:]
    found = read_back(made, tmp_path / "map.dcm", shape, prediction.similarity_affine)
    np.testing.assert_array_equal(found, prediction.similarities[index])
    assert f"prototype {index}" in made.SeriesDescription
