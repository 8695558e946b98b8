"""Volumes, surfaces, outlines, saving."""

import qt
import slicer
from ProtoSegBrainScene.legends import showClassLegend
from ProtoSegBrainScene.moves import movesOf, showAligned, showAsScanned
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE
from ProtoSegBrainScene.rendering import showBrain
from ProtoSegBrainScene.result import inputsOf
from ProtoSegBrainScene.resultfiles import earlierFiles
from ProtoSegBrainScene.segmentation import SEGMENT_COLOURS, hideRegions, let3D, makeSurfaces, showRegions
from ProtoSegBrainScene.tables import volumeRows, warningsOf

from ProtoSegBrainLib.images.preparation import Preparation
from ProtoSegBrainLib.labels import REGIONS

SIMULATED = "A simulated brain: no patient."
ALARM = "color: #5c0f0a; background-color: #f9d2ce; border-left: 4px solid #c0281b;"
"""Of sentences that the scan is unlike all that the model learned from; to be read in a dark window, too."""
NOTICE = "color: #4d3800; background-color: #fcebc2; border-left: 4px solid #d99a00;"
COLUMNS = ("", "Volume", "Interval", "Dice")
HELP = (
    "In bold the regions WT, TC and ET; below them the classes ED and NCR, which are parts of them.",
    "In the result that is shown.",
    "In which the true volume lies in 9 of 10 scans like the training data; not known of a what-if.",
    "Overlap with an expert's outline that is to be expected, 0 to 1; not known of a what-if.",
)
WIDE = COLUMNS.index("Interval")


class ResultSection:
    """What was found, in numbers, and the ways to see and to keep it."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._listed = None
        self._shown = self._aligned = None
        ui.saveResultsButton.clicked.connect(panel.guarded(self.saveResults))
        # The classes only: what else a result consists of is not to be chosen.
        ui.segmentationSelector.addAttribute("vtkMRMLSegmentationNode", RESULT_ATTRIBUTE, "segmentation")
        ui.saveSceneButton.clicked.connect(panel.guarded(self.saveScene))
        table = ui.volumesTable
        table.columnCount = len(COLUMNS)
        table.setHorizontalHeaderLabels(list(COLUMNS))
        for column, text in enumerate(HELP):
            table.horizontalHeaderItem(column).setToolTip(text)
            resizing = qt.QHeaderView.Stretch if column == WIDE else qt.QHeaderView.ResizeToContents
            table.horizontalHeader().setSectionResizeMode(column, resizing)

    def saveResults(self):
        """Ask for a folder and write the files that the command line writes."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Folder for the results")
        if not folder or not self.panel.isInstalled():
            return
        result = self.panel.result
        present = earlierFiles(result.current.case_id, folder)
        if present:
            said = f"{folder} already holds results of {result.current.case_id}: {', '.join(present)}."
            self.panel.message.show(said, action=("Overwrite", lambda: self._writeResults(result, folder, True)))
        else:
            self._writeResults(result, folder)

    def _writeResults(self, result, folder, overwrite=False):
        with slicer.util.WaitCursor():
            files = self.panel.logic.saveResults(result.nodes, folder, overwrite)
        self.panel.message.show(f"Wrote {len(files)} files of {result.current.case_id} to {folder}.")

    def saveScene(self):
        """Ask for a file and write the whole scene."""
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), "Scene", "", "Scene (*.mrb)")
        if path:
            path = path if path.endswith(".mrb") else f"{path}.mrb"
            with slicer.util.WaitCursor():
                self.panel.idle.finish()  # maps that are still to be filled are part of the scene
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
        self.ui.showAlignedCheckBox.enabled = bool(result and movesOf(result.nodes))
        current = result.current if result else None
        if current is not self._listed:
            self._listed = current
            self._list(current)
        sentence = self.panel.patient.sentence or (preparationOf(current) if current else "")
        self.ui.resultStateLabel.text = sentence
        self.ui.resultStateLabel.visible = bool(sentence)
        if result:
            self._show(result)
            self.panel.views.lookAgain(result.current)

    def forget(self):
        """Show the segments, and the images aligned or not, again at the next refresh."""
        self._shown = self._aligned = None

    def _show(self, result):
        """Segments at once, surfaces when idle; the painted surface stands in place of the segments' own."""
        parameters = self.panel.parameters
        self._align(result)
        wanted = (result.key, parameters.showOutlines, parameters.showThreeD, parameters.showOnSurface)
        if wanted == self._shown:
            return
        before = self._shown or (None,) * len(wanted)
        if parameters.showOutlines and wanted[:2] != before[:2]:
            showRegions(result.nodes, result.current)
        elif wanted[1] != before[1]:
            hideRegions(result.nodes)
        showClassLegend(self.panel.logic.context, result.nodes)
        let3D(result.nodes, parameters.showThreeD and not parameters.showOnSurface)
        self.panel.idle.later("surfaces", self.makeSurfaces)
        self.panel.idle.later("brain", self.showBrain)
        self._shown = wanted

    def _align(self, result):
        """Images that were moved where they were moved to, or as they were scanned."""
        isAligned = self.panel.parameters.showAligned
        wanted = (result.key, isAligned)
        if wanted != self._aligned:
            show = showAligned if isAligned else showAsScanned
            show(result.nodes, inputsOf(result.nodes))
            self._aligned = wanted

    def makeSurfaces(self):
        """Those that are to be seen and are not there yet."""
        if self.panel.result:
            makeSurfaces(self.panel.logic.context, self.panel.result.nodes)

    def showBrain(self):
        """Around the surfaces, while there are any."""
        result, parameters = self.panel.result, self.panel.parameters
        if result:
            visible = parameters.showThreeD or parameters.showOnSurface
            showBrain(self.panel.logic.context, result.nodes, result.current, visible)

    def _list(self, prediction):
        rows = volumeRows(prediction) if prediction else []
        table = self.ui.volumesTable
        table.rowCount = len(rows)
        for number, row in enumerate(rows):
            for column, text in enumerate((row.key, *row.texts[1:])):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(row.name)
                font = item.font()
                font.setBold(row.key in REGIONS)
                item.setFont(font)
                table.setItem(number, column, item)
            table.item(number, 0).setData(qt.Qt.DecorationRole, qt.QColor(*SEGMENT_COLOURS[row.key]))
        self._warn(prediction)

    def _warn(self, prediction):
        """Above the volumes, in a colour: what is to be known before they are read."""
        sentences = attentionOf(prediction) if prediction else []
        self.ui.warningsLabel.text = "\n".join(f"• {sentence}" for sentence in sentences)
        self.ui.warningsLabel.visible = bool(sentences)
        flag = prediction and (prediction.findings.get("out_of_distribution") or {}).get("flag")
        self.ui.warningsLabel.styleSheet = f"QLabel {{ {ALARM if flag else NOTICE} padding: 4px; }}"


def attentionOf(prediction):
    """Sentences to be read before the volumes: no patient, unlike the training data, warnings of the case."""
    return [*([SIMULATED] if prediction.simulated else []), *warningsOf(prediction)]


def preparationOf(prediction):
    """What was done to a raw study, in a sentence; "" where its images were taken as they are."""
    done = prediction.preparation
    return f"Prepared: {Preparation.from_dict(done).sentence}" if done else ""
