"""The decision at the crosshair."""

from __future__ import annotations

import time

import pytest
from open_panel import OBLIQUE, a_prediction, crosshair_at
from slicer_stand_ins import slicer


def test_the_crosshair_is_explained(panel):
    result = panel.segment()
    crosshair_at(900, 0, 0)
    panel.wait(lambda: "outside the image" in panel.text("whyLabel"))
    crosshair_at(*(OBLIQUE @ (12, 11, 9, 1))[:3])
    panel.wait(lambda: "logit of" in panel.text("whyLabel"))
    assert "Nearest: prototype" in panel.text("nearestCardLabel")
    explanation = panel.logic.explainAt(result.nodes, (OBLIQUE @ (12, 11, 9, 1))[:3])
    assert f"<b>{explanation.class_name}</b>" in panel.text("whyLabel")
    assert not panel.ui.messageFrame.isVisible()


def test_at_first_the_tumour_is_explained(panel):
    panel.segment()
    panel.wait(lambda: "logit of" in panel.text("whyLabel"))
    assert "<b>background</b>" not in panel.text("whyLabel")


def test_the_explanation_follows_a_mouse_that_does_not_rest(panel):
    panel.segment()
    crosshair_at(900, 0, 0)
    panel.wait(lambda: "outside the image" in panel.text("whyLabel"))
    started = time.monotonic()
    while "logit of" not in panel.text("whyLabel"):
        assert time.monotonic() - started < 5
        crosshair_at(*(OBLIQUE @ (12 + 0.1 * (time.monotonic() % 1), 11, 9, 1))[:3])
        slicer.app.processEvents()


def test_the_explanation_follows_a_what_if(panel):
    panel.segment()
    crosshair_at(*(OBLIQUE @ (10, 8, 8, 1))[:3])
    panel.wait(lambda: "logit of" in panel.text("whyLabel"))
    before = panel.text("whyLabel")
    panel.tick(2, False)
    panel.wait(lambda: "logit of" in panel.text("whyLabel") and panel.text("whyLabel") != before)


def test_terms_sum_to_the_logit(panel):
    from ProtoSegBrainPanel.why import termsOf

    from ProtoSegBrainLib.explanation.explain import explain

    prediction = a_prediction()
    explanation = explain(prediction, (OBLIQUE @ (12, 11, 9, 1))[:3])
    terms = termsOf(explanation, prediction.evidence)
    assert terms[0] == ("bias", 0.25)
    assert sum(value for _, value in terms) == pytest.approx(explanation.logits[explanation.class_name])


def test_the_crosshair_is_seen_in_the_module_and_as_before_outside(panel):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
    panel.widget.exit()
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
