import json

import numpy as np
import pytest
from open_panel import OWNERS, a_prediction, add_inputs, an_embedding
from slicer_stand_ins import FileDialog, slicer

from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.segmentation.process import Done, Failed

FIRST = len(OWNERS)
"""Number of the first point among the prototypes."""


def place(prediction, *voxel):
    """RAS mm of a voxel of the prototypes' grid."""
    return tuple((prediction.similarity_affine @ [*voxel, 1])[:3])


def label_at(panel, ras):
    return panel.logic.explainAt(panel.result.nodes, ras).class_name


def point(panel, button, ras):
    """A button, and a click into a view, as Slicer's place mode makes a control point of it."""
    panel.click(button)
    from ProtoSegBrainScene.points import pointNodes

    name = {"pointNoneButton": "background"}.get(button, button[5:-6])
    pointNodes(panel.result.nodes.segmentation)[name].AddControlPointWorld(ras)
    panel.click(button)


def embed(panel):
    """Let the worker answer the request for the embedding."""
    assert panel.worker.asked[-1]["task"] == "embed"
    panel.answer(Done(len(panel.worker.asked), embedding=an_embedding(panel.result.original)))


def settle(panel):
    panel.wait(lambda: not panel.widget.panel.correct._timer.isActive())
    panel.rest()


@pytest.fixture
def segmented(panel):
    panel.segment()
    return panel


EDGE = (8, 6, 4)


def test_a_click_changes_the_result_and_is_a_row_among_the_prototypes(segmented):
    panel, own = segmented, segmented.result.original
    ras = place(own, *EDGE)
    before = label_at(panel, ras)
    assert before == "background"
    point(panel, "pointETButton", ras)
    assert panel.text("correctLabel") == "Reading the images…"
    embed(panel)
    settle(panel)
    assert label_at(panel, ras) == "ET"
    assert panel.result.current.volumes_ml["ET"] > own.volumes_ml["ET"]
    assert "1 point (1 ET): not the model's own result" in panel.text("correctLabel")
    row = panel.ui.prototypesTable.item(panel.row_of(FIRST), 2)
    assert row.text() == "your point 1"
    assert panel.result.original is own


def test_the_images_are_read_once_and_as_the_network_had_them(segmented):
    panel, own = segmented, segmented.result.original
    point(panel, "pointETButton", place(own, *EDGE))
    embed(panel)
    settle(panel)
    asked = panel.worker.asked[-1]
    assert asked["case_id"] == own.case_id or asked["case_id"]
    np.testing.assert_allclose(asked["volumes"]["t1c"].affine, own.affine, atol=1e-6)
    count = len(panel.worker.asked)
    point(panel, "pointNoneButton", place(own, 5, 5, 4))
    settle(panel)
    assert len(panel.worker.asked) == count
    assert len(panel.result.current.evidence.taught) == 2


def test_undo_remove_and_remove_all(segmented):
    panel, own = segmented, segmented.result.original
    for button, voxel in (("pointETButton", EDGE), ("pointEDButton", (2, 2, 2)), ("pointNoneButton", (5, 4, 4))):
        point(panel, button, place(own, *voxel))
        if len(panel.worker.asked) == 1 or panel.result.embedding is None:
            embed(panel)
        settle(panel)
    names = lambda: [each.class_name for each in panel.result.current.evidence.taught]  # noqa: E731
    assert names() == ["ET", "ED", "background"]
    panel.click("undoPointButton")
    settle(panel)
    assert names() == ["ET", "ED"]
    panel.choose(FIRST)
    assert panel.ui.removePointButton.isEnabled()
    panel.click("removePointButton")
    settle(panel)
    assert names() == ["ED"]
    panel.click("undoPointButton")
    settle(panel)
    assert names() == ["ET", "ED"]
    panel.click("removeAllPointsButton")
    settle(panel)
    assert names() == []
    assert panel.result.current.volumes_ml == own.volumes_ml
    assert np.array_equal(panel.result.current.label, own.label)
    assert not panel.ui.removeAllPointsButton.isEnabled()


def test_the_box_of_a_point_shows_the_result_without_it(segmented):
    panel, own = segmented, segmented.result.original
    point(panel, "pointETButton", place(own, *EDGE))
    embed(panel)
    settle(panel)
    panel.tick(FIRST, False)
    panel.rest()
    assert panel.result.current.volumes_ml == own.volumes_ml
    panel.tick(FIRST, True)
    panel.rest()
    assert panel.result.current.volumes_ml["ET"] > own.volumes_ml["ET"]


def test_a_point_outside_the_image_is_taken_away_with_a_sentence(segmented):
    panel = segmented
    point(panel, "pointETButton", (900.0, 0.0, 0.0))
    settle(panel)
    assert "outside the brain" in panel.text("messageLabel")
    from ProtoSegBrainScene.points import pointsOf

    assert pointsOf(panel.result.nodes.segmentation) == []
    assert panel.result.current is panel.result.original


def test_a_worker_that_fails_leaves_the_result_and_no_point(segmented):
    panel = segmented
    point(panel, "pointETButton", place(panel.result.original, *EDGE))
    panel.answer(Failed(len(panel.worker.asked), "internal", "No memory.", "MemoryError"))
    settle(panel)
    from ProtoSegBrainScene.points import pointsOf

    assert pointsOf(panel.result.nodes.segmentation) == []
    assert "No memory." in panel.text("messageLabel")
    point(panel, "pointETButton", place(panel.result.original, *EDGE))
    embed(panel)
    settle(panel)
    assert len(panel.result.current.evidence.taught) == 1


def test_a_dragged_point_is_learned_anew(segmented):
    panel, own = segmented, segmented.result.original
    point(panel, "pointETButton", place(own, *EDGE))
    embed(panel)
    settle(panel)
    from ProtoSegBrainScene.points import pointNodes

    node = pointNodes(panel.result.nodes.segmentation)["ET"]
    node.SetNthControlPointPositionWorld(0, place(own, 2, 2, 2))
    settle(panel)
    np.testing.assert_allclose(panel.result.current.evidence.taught[0].position_mm, place(own, 2, 2, 2), atol=1e-3)
    assert label_at(panel, place(own, 2, 2, 2)) == "ET"


def test_a_corrected_case_is_saved_as_one_to_train_on(segmented, tmp_path):
    panel, own = segmented, segmented.result.original
    point(panel, "pointETButton", place(own, *EDGE))
    embed(panel)
    settle(panel)
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveCorrectedButton")
    (files,) = list_cases(tmp_path)
    case = read_case(files)
    assert np.array_equal(case.label, panel.result.current.label)
    (note,) = tmp_path.glob("*/correction.json")
    assert json.loads(note.read_text())["points"][0]["class"] == "ET"


def test_keys_belong_to_the_open_module_only(segmented):
    section = segmented.widget.panel.correct
    assert all(key.isEnabled() for key in section._keys)
    segmented.widget.exit()
    assert not any(key.isEnabled() for key in section._keys)
    segmented.widget.enter()
    assert all(key.isEnabled() for key in section._keys)


def test_without_a_result_nothing_can_be_corrected(panel):
    for name in ("pointNoneButton", "pointNCRButton", "pointEDButton", "pointETButton", "undoPointButton"):
        assert not getattr(panel.ui, name).isEnabled()
    panel.inputs.choose(add_inputs())
    assert not panel.ui.pointETButton.isEnabled()


def test_scripts_teach_with_one_call(panel):
    inputs = add_inputs()
    prediction = a_prediction()
    nodes = panel.logic.results.show(prediction, inputs)
    panel.worker.wait_for_embedding = lambda _request: an_embedding(prediction)
    taught = panel.logic.teach(nodes, [Point(place(prediction, *EDGE), "ET")])
    assert taught.volumes_ml["ET"] > prediction.volumes_ml["ET"]
    assert panel.logic.teach(nodes, []).volumes_ml == prediction.volumes_ml
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 1


def test_another_run_on_the_same_images_begins_without_points(segmented):
    panel, own = segmented, segmented.result.original
    point(panel, "pointETButton", place(own, *EDGE))
    embed(panel)
    settle(panel)
    panel.segment()
    settle(panel)
    from ProtoSegBrainScene.points import pointsOf

    assert panel.result.current.evidence.taught == ()
    assert pointsOf(panel.result.nodes.segmentation) == []
    assert not panel.ui.undoPointButton.isEnabled()
    point(panel, "pointEDButton", place(own, *EDGE))
    embed(panel)
    settle(panel)
    assert [each.class_name for each in panel.result.current.evidence.taught] == ["ED"]
