"""The .ui file and the code that names its widgets."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

from slicer_stand_ins import MODULE, QtWidgets, qMRMLNodeComboBox

UI = MODULE / "Resources" / "UI" / "ProtoSegBrain.ui"
SOURCES = [MODULE / "ProtoSegBrain.py", *sorted((MODULE / "ProtoSegBrainPanel").glob("*.py"))]


def widgets_of_ui() -> dict[str, str]:
    return {node.get("name", ""): node.get("class", "") for node in ElementTree.parse(UI).iter("widget")}


def names_in(path: Path) -> set[str]:
    """Attributes of ``ui`` that a file uses."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if ast.unparse(node.value) in ("ui", "self.ui", "panel.ui")}


def test_every_widget_that_the_code_names_is_there():
    there = set(widgets_of_ui())
    named = {name: path.name for path in SOURCES for name in names_in(path)}
    assert len(named) > 30
    assert {name: where for name, where in named.items() if name not in there} == {}


def test_no_two_widgets_have_one_name():
    names = [node.get("name") for node in ElementTree.parse(UI).iter("widget")]
    assert len(names) == len(set(names))


def test_widgets_for_parameters_name_parameters_that_there_are(panel):
    from ProtoSegBrainPanel.parameternode import ProtoSegBrainParameterNode

    bound = re.findall(r'"SlicerParameterName"[^>]*>\s*<string>(\w+)</string>', UI.read_text())
    assert len(bound) == len(set(bound)) > 12
    assert set(bound) <= set(ProtoSegBrainParameterNode.members)


def test_all_controls_have_a_tooltip_and_can_be_reached_by_key(panel):
    from PySide6.QtCore import Qt

    kinds = (QtWidgets.QPushButton, QtWidgets.QCheckBox, QtWidgets.QComboBox, QtWidgets.QTableWidget)
    controls = [widget for widget in vars(panel.ui).values() if isinstance(widget, kinds)]
    assert len(controls) > 25
    assert [widget.objectName() for widget in controls if not widget.toolTip()] == []
    assert [widget.objectName() for widget in controls if widget.focusPolicy() == Qt.FocusPolicy.NoFocus] == []


def test_no_two_controls_have_the_same_key():
    texts = [node.text or "" for node in ElementTree.parse(UI).iter("string")]
    keys = [match.group(1).lower() for text in texts if len(text) < 40 and (match := re.search(r"&(\w)", text))]
    assert sorted(keys) == sorted(set(keys))


def test_it_is_said_that_it_is_for_research_only_and_stays_said(panel):
    assert "research use only" in panel.text("researchUseLabel")
    panel.segment()
    assert panel.ui.researchUseLabel.isVisible()


def test_nothing_can_be_done_without_inputs(panel):
    for name in ("segmentButton", "saveResultsButton", "strongestSpotButton", "undoButton", "resetButton"):
        assert not getattr(panel.ui, name).isEnabled(), name
    assert "FLAIR" in panel.text("agreementLabel")
    assert not panel.ui.messageFrame.isVisible()


def test_results_of_ours_are_no_inputs(panel):
    panel.segment()
    selector = panel.ui.inputFlairSelector
    assert isinstance(selector, qMRMLNodeComboBox)
    assert selector.count() <= 8


def test_the_card_of_the_bundled_model_is_shown(panel):
    assert re.search(r"\d+ prototypes, learned from \d+ cases", panel.text("modelCardLabel"))


def test_a_missing_model_card_is_told(panel, tmp_path):
    panel.ui.modelPathLineEdit.setText(str(tmp_path / "none.safetensors"))
    assert "There is no model card" in panel.text("modelCardLabel")
    (tmp_path / "none.json").write_text("[]")
    panel.ui.modelPathLineEdit.setText("")
    panel.ui.modelPathLineEdit.setText(str(tmp_path / "none.safetensors"))
    assert "not a model card" in panel.text("modelCardLabel")
