"""An earlier result of the same patient beside the one that is shown."""

import qt
import slicer
from ProtoSegBrainScene.comparison import (
    COLUMNS,
    LAYOUT_ID,
    blend,
    removeComparison,
    showChange,
    showSideBySide,
    tableRows,
)
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE
from ProtoSegBrainScene.points import showPoints
from ProtoSegBrainScene.sight import lookAtTumour

from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainPanel.views import layoutNodeOf

HINT = "Choose the result of an earlier date; the one that is shown is the later one."
COMPARING = "Comparing the two scans; this takes a few seconds…"


class CompareSection:
    """Chooses the earlier result, shows both dates side by side, and says what changed."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._comparison = None
        self._arrangement = None
        ui.earlierSelector.addAttribute("vtkMRMLSegmentationNode", RESULT_ATTRIBUTE, "segmentation")
        ui.earlierSelector.currentNodeChanged.connect(panel.guarded(self.refresh))
        ui.compareButton.clicked.connect(panel.guarded(self.compare))
        ui.closeComparisonButton.clicked.connect(panel.guarded(self.close))
        ui.saveComparisonButton.clicked.connect(panel.guarded(self.save))
        ui.changeRegionComboBox.addItems(list(REGIONS))
        ui.changeRegionComboBox.currentTextChanged.connect(panel.guarded(self.onRegion))
        ui.blendSlider.valueChanged.connect(panel.guarded(self.onBlend))
        table = ui.comparisonTable
        table.columnCount = len(COLUMNS)
        table.setHorizontalHeaderLabels(list(COLUMNS))
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)

    def compare(self):
        """Register, compare, and show both dates; nothing changes where that cannot be done."""
        results = self.panel.logic.results
        chosen, later = self.ui.earlierSelector.currentNode(), self.panel.result
        earlier = results.of(chosen)
        if earlier is None:
            raise ValueError(f"{chosen.GetName()} is no whole result any more; segment its images again.")
        self.panel.message.close()
        self.ui.compareLabel.text = COMPARING
        slicer.app.processEvents()
        self.panel.idle.finish()  # what is left to do for the results comes first
        try:
            with slicer.util.WaitCursor():
                self._comparison = self.panel.logic.compare(earlier.nodes, later.nodes)
            self.arrange()
        finally:
            self.refresh()
        self.ui.blendSlider.value = 0.0
        self.ui.changeRegionComboBox.currentIndex = 0
        self._lookAtTumour()

    def arrange(self):
        """Both dates side by side, while there is a comparison."""
        layoutNode = layoutNodeOf(slicer.mrmlScene)
        if self._comparison is not None and layoutNode is not None:
            before = showSideBySide(slicer.mrmlScene, layoutNode, self._comparison)
            if before != LAYOUT_ID:
                self._arrangement = before
            if slicer.app.layoutManager():
                slicer.util.resetSliceViews()  # views that are new show the whole image
            self._hideResult()

    def close(self):
        """The views as before; what the comparison added to the scene goes."""
        if self._comparison is None:
            return
        removeComparison(slicer.mrmlScene)
        layoutNode = layoutNodeOf(slicer.mrmlScene)
        if layoutNode is not None and layoutNode.GetViewArrangement() == LAYOUT_ID:
            if self._arrangement is None:  # a scene was saved in it
                self.panel.views.enter()
            else:
                layoutNode.SetViewArrangement(self._arrangement)
        self._comparison = self._arrangement = None
        if self.panel.result:
            showPoints(self.panel.result.nodes.segmentation, True)
        self.panel.drawAgain()
        self.panel.refresh()

    def _hideResult(self):
        """The result that is shown lies on its own scan, not on the earlier one."""
        result = self.panel.result
        if result:
            for node in (result.nodes.segmentation, result.nodes.regions):
                node.GetDisplayNode().SetVisibility(False)
            showPoints(result.nodes.segmentation, False)

    def save(self):
        """Ask for a folder and write what the command line writes."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Folder for the comparison")
        if not folder:
            return
        try:
            self._write(folder)
        except FileExistsError as error:
            self.panel.message.show(str(error), action=("Overwrite", lambda: self._write(folder, True)))

    def _write(self, folder, overwrite=False):
        with slicer.util.WaitCursor():
            files = self.panel.logic.saveComparison(self._comparison, folder, overwrite)
        self.panel.message.show(f"Wrote {len(files)} files of the comparison to {folder}.")

    def onRegion(self):
        """Another region: what changed of it."""
        if self._comparison:
            showChange(self._comparison, self.ui.changeRegionComboBox.currentText)

    def onBlend(self):
        """The slider between the dates."""
        if self._comparison:
            blend(slicer.mrmlScene, self.ui.blendSlider.value)

    def refresh(self):
        """Which results can be chosen, and what was found."""
        result, chosen = self.panel.result, self.ui.earlierSelector.currentNode()
        shown = result.nodes.segmentation if result else None
        self.ui.earlierSelector.sortFilterProxyModel().hiddenNodeIDs = [shown.GetID()] if shown else []
        self.ui.compareButton.enabled = result is not None and chosen is not None and chosen is not shown
        for widget in (
            self.ui.changeRegionComboBox,
            self.ui.blendSlider,
            self.ui.comparisonTable,
            self.ui.saveComparisonButton,
            self.ui.closeComparisonButton,
        ):
            widget.enabled = self._comparison is not None
        self.ui.compareLabel.text = comparisonText(self._comparison.followup) if self._comparison else HINT
        self._list(tableRows(self._comparison.followup) if self._comparison else [])

    def forget(self):
        """The scene is another one; a comparison that was saved with it is nodes and no more."""
        self._comparison = self._arrangement = None

    def _list(self, rows):
        table = self.ui.comparisonTable
        table.rowCount = len(rows)
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                table.setItem(number, column, qt.QTableWidgetItem(text))

    def _lookAtTumour(self):
        """Both dates at the place of the earlier tumour."""
        lookAtTumour(slicer.mrmlScene, self._comparison.followup.visits[0].prediction)


def comparisonText(followup):
    """What changed, line by line; warnings and what this is not come last."""
    names = " to ".join(visit.name for visit in followup.visits)
    *lines, last = followup.sentences
    return "\n".join([f"{names}:", *lines, *followup.warnings, last])
