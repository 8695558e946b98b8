"""The .ui file and the code that names its widgets."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

from open_panel import add_inputs
from PySide6.QtCore import Qt
from slicer_stand_ins import MODULE, QtWidgets, qMRMLNodeComboBox, slicer

NARROW = 400
"""Pixels: as wide as Slicer makes the panel of a module."""
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
    assert "SHA-256" in panel.ui.modelCardLabel.toolTip()


def test_segment_is_above_the_fold_of_a_small_screen(panel):
    """Of 768 pixels Slicer leaves a panel about 400."""
    panel.window.resize(NARROW, 1400)
    panel.inputs.choose(add_inputs())
    slicer.app.processEvents()
    button = panel.ui.segmentButton
    assert button.mapTo(panel.window, button.rect().bottomLeft()).y() < 390
    assert panel.ui.researchUseLabel.height() < 2 * panel.ui.researchUseLabel.fontMetrics().height()
    assert not panel.ui.deviceComboBox.isVisible() or panel.ui.advancedGroupBox.property("collapsed")


def test_the_panel_is_no_wider_than_its_place_whatever_it_says(panel):
    panel.window.resize(NARROW, 1400)
    panel.segment()
    panel.wait(lambda: "logit of" in panel.text("whyLabel"))
    slicer.app.processEvents()
    assert panel.window.minimumSizeHint().width() <= NARROW
    assert panel.window.width() == NARROW


def test_the_tables_are_read_whole_at_the_default_width(panel):
    panel.window.resize(NARROW, 1400)
    panel.segment()
    slicer.app.processEvents()
    for table in (panel.ui.volumesTable, panel.ui.prototypesTable):
        shown = sum(table.columnWidth(column) for column in range(table.columnCount()))
        assert shown <= table.viewport().width()
        for column in range(table.columnCount()):
            heading = table.horizontalHeader().sectionSizeHint(column)
            assert table.columnWidth(column) >= heading, table.horizontalHeaderItem(column).text()
    volumes, prototypes = panel.ui.volumesTable, panel.ui.prototypesTable
    assert all(volumes.sizeHintForColumn(column) <= volumes.columnWidth(column) for column in range(4))
    for row in range(prototypes.rowCount()):
        text = prototypes.item(row, 2).text()
        lines = prototypes.fontMetrics().boundingRect(
            0, 0, prototypes.columnWidth(2) - 8, 1000, Qt.TextFlag.TextWordWrap, text
        )
        assert prototypes.rowHeight(row) >= lines.height(), text


def test_a_missing_model_card_is_told(panel, tmp_path):
    panel.ui.modelPathLineEdit.setText(str(tmp_path / "none.safetensors"))
    assert "There is no model card" in panel.text("modelCardLabel")
    (tmp_path / "none.json").write_text("[]")
    panel.ui.modelPathLineEdit.setText("")
    panel.ui.modelPathLineEdit.setText(str(tmp_path / "none.safetensors"))
    assert "not a model card" in panel.text("modelCardLabel")
