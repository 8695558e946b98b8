import numpy as np
import pytest
from by_hand import prediction_for
from mrml import GRIDS, a_context, read_scene
from pointed_case import embedding, place
from pointed_case import prediction as pointed
from ProtoSegBrainScene.correction import LAYER, restoreCorrection
from ProtoSegBrainScene.grid import addVolume
from ProtoSegBrainScene.parts import ROLE
from ProtoSegBrainScene.results import Results
from ProtoSegBrainScene.tables import prototypeRows

from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES


def corrected(affine=GRIDS["oblique"]):
    """Context, results, nodes and the model's own result of one that was corrected by two points."""
    context = a_context()
    results = Results(context)
    own = pointed(affine)
    inputs = {
        role: addVolume(context.scene, "vtkMRMLScalarVolumeNode", role, Volume(own.probabilities[0] + n, affine))
        for n, role in enumerate(MODALITIES)
    }
    nodes = results.show(own, inputs)
    results.learnFrom(nodes, embedding(own))
    results.teach(nodes, [Point(place(own, 4, 9, 4), "ED"), Point(place(own, 4, 5, 4), "NCR")])
    return context, results, nodes, own


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_corrected_result_is_shown_and_can_be_taken_back(affine):
    _context, results, nodes, own = corrected(affine)
    result = results.of(nodes.segmentation)
    assert result.original is own
    assert len(result.current.evidence.taught) == 2
    assert not np.array_equal(result.current.label, own.label)
    first = next(row for row in prototypeRows(result.whole) if row.index == 4)
    assert first.name == "your point 1"
    assert first.bestSimilarity == pytest.approx(1, abs=0.05)
    results.teach(nodes, [])
    assert results.of(nodes.segmentation).current is own
    assert restoreCorrection(nodes.segmentation, own) is None


def test_a_point_can_be_switched_off_and_stays_off_when_another_is_placed():
    _context, results, nodes, own = corrected()
    results.whatIf(nodes, [5])
    assert results.of(nodes.segmentation).disabled == (5,)
    more = [Point(place(own, 4, 9, 4), "ED"), Point(place(own, 4, 5, 4), "NCR"), Point(place(own, 9, 3, 7), "ET")]
    results.teach(nodes, more)
    assert results.of(nodes.segmentation).disabled == (5,)
    assert not results.of(nodes.segmentation).current.evidence.weight[:, 5].any()
    results.teach(nodes, more[:1])
    assert results.of(nodes.segmentation).disabled == ()


def test_a_corrected_result_comes_back_with_a_saved_scene(tmp_path):
    context, results, nodes, own = corrected()
    shown = results.of(nodes.segmentation).current
    assert context.scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    again = read_scene(tmp_path / "scene.mrb", tmp_path / "unpacked")
    back = Results(again).of(again.scene.GetFirstNodeByName(nodes.segmentation.GetName()))
    assert np.array_equal(back.current.label, shown.label)
    assert np.array_equal(back.original.label, own.label)
    assert back.whole.evidence.taught == shown.evidence.taught
    assert np.allclose(back.current.similarities, shown.similarities, atol=1e-5)


def test_a_damaged_correction_is_named():
    _context, _results, nodes, own = corrected()
    nodes.segmentation.GetNodeReference(ROLE + LAYER).SetText("{}")
    with pytest.raises(ValueError, match="its correction by points cannot be read"):
        restoreCorrection(nodes.segmentation, own)


def test_points_need_the_embedding_of_these_images():
    context = a_context()
    results, own = Results(context), pointed()
    nodes = results.show(own, {})
    with pytest.raises(RuntimeError, match="points need the embedding"):
        results.teach(nodes, [Point(place(own, 4, 9, 4), "ED")])
    other = prediction_for(np.zeros((4, 5, 5, 5), np.float32), own.evidence)
    with pytest.raises(ValueError, match="are not those of the result"):
        results.learnFrom(nodes, embedding(own).__class__("x", np.zeros((4, 5, 5, 5)), other.similarity_affine, ""))
