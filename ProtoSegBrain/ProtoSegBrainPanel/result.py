"""Volumes, surfaces, outlines, saving."""

import qt
import slicer
from ProtoSegBrainScene.segmentation import REGION_COLOURS, hideRegions, show3D, showRegions
from ProtoSegBrainScene.tables import volumeRows, warningsOf

from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES

COLUMNS = ("Region", "Volume", "Interval", "Expected Dice")
HELP = (
    "Regions of the tumour, and the classes of which they consist.",
    "In the result that is shown.",
    "In which the true volume lies in 9 of 10 scans like the training data; not known of a what-if.",
    "Overlap with an expert's outline that is to be expected, 0 to 1; not known of a what-if.",
)


class ResultSection:
    """What was found, in numbers, and the ways to see and to keep it."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._listed = None
        self._shown = None
        ui.saveResultsButton.clicked.connect(panel.guarded(self.saveResults))
        ui.saveSceneButton.clicked.connect(panel.guarded(self.saveScene))
        table = ui.volumesTable
        table.columnCount = len(COLUMNS)
        table.setHorizontalHeaderLabels(list(COLUMNS))
        for column, text in enumerate(HELP):
            table.horizontalHeaderItem(column).setToolTip(text)
            resizing = qt.QHeaderView.ResizeToContents if column else qt.QHeaderView.Stretch
            table.horizontalHeader().setSectionResizeMode(column, resizing)

    def saveResults(self):
        """Ask for a folder and write the files that the command line writes."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Folder for the results")
        if folder and self.panel.isInstalled():
            with slicer.util.WaitCursor():
                files = self.panel.logic.saveResults(self.panel.result.nodes, folder)
            self.panel.message.show(f"Wrote {len(files)} files of {self.panel.result.current.case_id} to {folder}.")

    def saveScene(self):
        """Ask for a file and write the whole scene."""
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), "Scene", "", "Scene (*.mrb)")
        if path:
            path = path if path.endswith(".mrb") else f"{path}.mrb"
            with slicer.util.WaitCursor():
                self.panel.logic.saveScene(path)
            self.panel.message.show(f"Wrote the scene to {path}.")

    def refresh(self):
        """The table when the result is another one; outlines and surfaces when they are to change."""
        result = self.panel.result
        for widget in (
            self.ui.showThreeDCheckBox,
            self.ui.showOutlinesCheckBox,
            self.ui.saveResultsButton,
            self.ui.volumesTable,
        ):
            widget.enabled = result is not None
        current = result.current if result else None
        if current is not self._listed:
            self._listed = current
            self._list(current)
        if result:
            self._show(result)

    def _show(self, result):
        """The painted surface stands in place of the segments' own."""
        parameters = self.panel.parameters
        wanted = (result.key, parameters.showOutlines, parameters.showThreeD, parameters.showOnSurface)
        if wanted == self._shown:
            return
        before = self._shown or (None,) * len(wanted)
        if parameters.showOutlines and wanted[:2] != before[:2]:
            showRegions(result.nodes, result.current)
        elif not parameters.showOutlines and wanted[1] != before[1]:
            hideRegions(result.nodes)
        show3D(self.panel.logic.context, result.nodes, parameters.showThreeD and not parameters.showOnSurface)
        self._shown = wanted

    def _list(self, prediction):
        rows = volumeRows(prediction) if prediction else []
        table = self.ui.volumesTable
        table.rowCount = len(rows)
        for number, row in enumerate(rows):
            for column, text in enumerate(row.texts):
                table.setItem(number, column, qt.QTableWidgetItem(text))
            colour = CLASS_COLOURS[CLASSES.index(REGION_COLOURS.get(row.key, row.key))]
            table.item(number, 0).setData(qt.Qt.DecorationRole, qt.QColor(*colour))
        warnings = warningsOf(prediction) if prediction else []
        self.ui.warningsLabel.text = "\n".join(f"• {sentence}" for sentence in warnings)
        self.ui.warningsLabel.visible = bool(warnings)
