"""The panel with the result of a model that has no prototypes."""

from __future__ import annotations

import numpy as np
from by_hand import without_prototypes
from open_panel import a_prediction, crosshair_at, foregrounds
from slicer_stand_ins import FileDialog, slicer

MUTE = "This model (mute) has no prototypes, so it cannot say why."


def test_without_prototypes_the_sections_say_so(panel):
    result = panel.segment(without_prototypes(a_prediction()))
    assert result.nodes.similarity is None
    assert panel.text("chosenLabel") == panel.text("whyLabel") == MUTE
    assert panel.ui.chosenLabel.isVisible()
    assert panel.ui.prototypesTable.rowCount() == 0
    for name in ("prototypesHintLabel", "mapScaleLabel", "whatIfLabel", "nearestCardLabel", "messageLabel"):
        assert not getattr(panel.ui, name).isVisible(), name
    for name in ("prototypesTable", "showMapCheckBox", "strongestSpotButton", "resetButton", "undoButton"):
        assert not getattr(panel.ui, name).isEnabled(), name
    crosshair_at(0, 0, 0)
    panel.wait(lambda: not panel.widget.panel.why._isDue)
    assert panel.text("whyLabel") == MUTE
    assert panel.ui.volumesTable.rowCount() == 5
    panel.ui.showThreeDCheckBox.click()
    panel.ui.showOutlinesCheckBox.click()
    assert not panel.ui.messageLabel.isVisible()


def test_without_prototypes_the_uncertainty_comes_and_goes(panel):
    result = panel.segment(without_prototypes(a_prediction()))
    assert foregrounds() == {None}
    panel.ui.showUncertaintyCheckBox.click()
    assert foregrounds() == {result.nodes.uncertainty.GetID()}
    panel.ui.showUncertaintyCheckBox.click()
    assert foregrounds() == {None}
    panel.ui.showUncertaintyCheckBox.click()
    again = panel.segment()  # of a model with prototypes, in the same segmentation
    panel.click("showMapCheckBox")
    panel.ui.showUncertaintyCheckBox.click()
    assert foregrounds() == {again.nodes.similarity.GetID()}
    assert panel.ui.prototypesHintLabel.isVisible()
    assert panel.text("chosenLabel").startswith("Prototype ")
    panel.segment(without_prototypes(a_prediction()))
    assert foregrounds() == {None}
    assert panel.text("chosenLabel") == MUTE


def test_a_loaded_scene_without_prototypes_shows_what_it_showed(panel, tmp_path):
    mute = without_prototypes(a_prediction())
    panel.segment(mute)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    result = panel.result
    assert result.original.volumes_ml == mute.volumes_ml
    assert np.array_equal(np.bincount(result.original.label.ravel()), np.bincount(mute.label.ravel()))
    assert panel.text("chosenLabel") == MUTE


def test_results_without_prototypes_are_saved(panel, tmp_path):
    panel.segment(without_prototypes(a_prediction()))
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"by_hand_{ending}" for ending in ("prediction.json", "prob.nii.gz", "report.html", "seg.nii.gz", "unc.nii.gz")
    ]
