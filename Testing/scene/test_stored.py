"""What a result says, kept in nodes and restored from them."""

import json

import numpy as np
import pytest
from mrml import GRIDS, a_context, a_mute_prediction, a_prediction, add_inputs, shown
from ProtoSegBrainScene.grid import voxelsOf
from ProtoSegBrainScene.result import findResult, showPrediction
from ProtoSegBrainScene.stored import restorePrediction

from ProtoSegBrainLib.explanation.findings import findings


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_the_prediction_is_restored(affine):
    _context, _, prediction, nodes = shown(affine, warnings=("Mind this.",), look={"noise": 0.1})
    restored = restorePrediction(nodes)
    assert np.array_equal(restored.label, prediction.label)
    assert np.allclose(restored.probabilities, prediction.probabilities, atol=1e-5)
    assert np.array_equal(restored.similarities, prediction.similarities)
    assert np.allclose(restored.affine, prediction.affine)
    assert np.allclose(restored.similarity_affine, prediction.similarity_affine)
    assert np.array_equal(restored.evidence.weight, prediction.evidence.weight)
    for name in ("case_id", "volumes_ml", "model", "device", "timings_s", "warnings", "look", "findings"):
        assert getattr(restored, name) == getattr(prediction, name), name


def test_findings_and_disagreement_are_restored():
    disagreement = np.random.default_rng(1).random(a_prediction().label.shape).astype(np.float32)
    said = json.loads(json.dumps(findings(a_prediction())))
    context, _, _, nodes = shown(disagreement=disagreement, findings=said)
    restored = restorePrediction(findResult(context.scene, nodes.segmentation))
    assert np.array_equal(restored.disagreement, disagreement)
    assert restored.findings == said


def test_damaged_details_are_named():
    _context, _, _, nodes = shown()
    nodes.details.SetText("{}")
    with pytest.raises(ValueError, match="by_hand does not hold a result of this version"):
        restorePrediction(nodes)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_without_prototypes_the_probabilities_are_kept(affine):
    context, mute = a_context(), a_mute_prediction(affine)
    nodes = showPrediction(context, mute, add_inputs(context.scene, affine))
    assert (nodes.similarities, nodes.similarity) == (None, None)
    assert findResult(context.scene, nodes.segmentation) == nodes
    assert voxelsOf(nodes.probabilities).shape[0] == mute.label.shape[0] - 1  # the box around the brain
    assert "This model (mute) has no prototypes" in nodes.prototypes.GetTable().GetValue(0, 0).ToString()
    assert nodes.volumes.GetTable().GetNumberOfRows() == 1  # the whole tumour, which is all that it finds
    restored = restorePrediction(nodes)
    assert np.array_equal(restored.label, mute.label)
    assert np.allclose(restored.probabilities, mute.probabilities, atol=1e-6)
    assert len(restored.similarities) == 0
    assert restored.regions == ("WT",)
    context.scene.RemoveNode(nodes.probabilities)
    assert findResult(context.scene, nodes.segmentation) is None
