from dataclasses import replace

import numpy as np
import pytest
import torch
from pointed_case import embedding, prediction
from small_model import PLAIN, save_small_model

from ProtoSegBrainLib.correction.embedding import embedding_of
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict
from ProtoSegBrainLib.simulation.simulate import simulate_case


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_small_model(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


def test_it_is_what_the_result_was_made_of(model):
    """The similarities of the result follow from it and the prototypes, on the way that the layer has."""
    case = simulate_case(1, shape=(52, 52, 52))
    made = predict(case, model, PredictConfig(device="cpu", precision="float32"))
    found = embedding_of(case, model, "cpu", "float32")
    found.check_is_of(made)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=0), 1, atol=1e-4)
    layer = model[0].prototype_layer
    with torch.inference_mode():
        similarities = layer.similarities(layer.distances(torch.from_numpy(found.vectors)[None]))[0].numpy()
    np.testing.assert_allclose(similarities, made.similarities, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "another"}, "by another model"),
        ({"vectors": np.zeros((4, 3, 3, 3), np.float32)}, "images are not those of the result"),
        ({"affine": np.eye(4)}, "images are not those of the result"),
    ],
)
def test_that_of_other_images_or_another_model_is_refused(change, said):
    made = prediction()
    with pytest.raises(ValueError, match=said):
        replace(embedding(made), **change).check_is_of(made)


def test_a_model_without_prototypes_has_none(tmp_path):
    mute = load_model(save_small_model(tmp_path / "mute.safetensors", config=PLAIN))
    with pytest.raises(ValueError, match="prototypes"):
        embedding_of(simulate_case(1, shape=(52, 52, 52)), mute, "cpu")
