"""The prototypes of the model: where the image resembles them, and what the result would be without them."""

import qt
import slicer
from ProtoSegBrainScene.heatmap import fillSimilarity, hideHeatmap, showPrototype, strongestSpot
from ProtoSegBrainScene.layout import jumpTo
from ProtoSegBrainScene.rendering import paintSurface, showVolumeRendering
from ProtoSegBrainScene.tables import findBest, prototypeRows

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.evidence import no_prototypes
from ProtoSegBrainPanel.parameternode import BACKGROUNDS
from ProtoSegBrainPanel.views import slicesOf

COLUMNS = ("On", "Class", "Looks like", "Share", "Best")
HELP = (
    "Clear the box to see the result without this prototype.",
    "The class that it speaks for; BG is background.",
    "What the training patch looks like, in plain words.",
    "Its share of the evidence for the tumour in this case.",
    "How many of the true training voxels of its class are less like it than its best match in this case.",
)
ON, NAME = COLUMNS.index("On"), COLUMNS.index("Looks like")


class PrototypesSection:
    """A table of the prototypes; the chosen one as a map, the check boxes as what-if."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._rows = []
        self._listed = None
        self._ticked = None
        self._drawn = None
        self._drawnOf = None
        self._undo = []
        table = ui.prototypesTable
        table.columnCount = len(COLUMNS)
        table.setHorizontalHeaderLabels(list(COLUMNS))
        for column, text in enumerate(HELP):
            table.horizontalHeaderItem(column).setToolTip(text)
            resizing = qt.QHeaderView.Stretch if column == NAME else qt.QHeaderView.ResizeToContents
            table.horizontalHeader().setSectionResizeMode(column, resizing)
        table.wordWrap = True
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)  # all of a name is to be read
        table.currentCellChanged.connect(panel.guarded(self.onChosen))
        table.cellClicked.connect(panel.guarded(self.onClicked))
        table.cellChanged.connect(panel.guarded(self.onTicked))
        ui.strongestSpotButton.clicked.connect(panel.guarded(self.jump))
        ui.undoButton.clicked.connect(panel.guarded(self.undo))
        ui.resetButton.clicked.connect(panel.guarded(self.reset))

    def onChosen(self, row, column, previousRow, _previousColumn):
        """Another row: its map; not where only its box was clicked."""
        if 0 <= row < len(self._rows) and row != previousRow:
            self.panel.parameters.prototype = self._rows[row].index
            self.onClicked(row, column)

    def onClicked(self, _row, column):
        """The row that is chosen already is clicked: its map."""
        if self._rows and column != ON:
            self.panel.parameters.showMap = True

    def onTicked(self, _row, column):
        """A box was ticked or cleared: the result without the prototypes whose boxes are clear."""
        if column == ON:
            table = self.ui.prototypesTable
            clear = [n for n in range(table.rowCount) if table.item(n, 0).checkState() != qt.Qt.Checked]
            self._turnOff(sorted(self._rows[n].index for n in clear))

    def undo(self):
        """As before the last change of the boxes."""
        if self._undo:
            self.panel.parameters.disabledPrototypes = self._undo.pop()

    def reset(self):
        """All prototypes on."""
        self._turnOff([])

    def jump(self):
        """Move all views to the place most like the chosen prototype."""
        row = self._chosen()
        if row:
            jumpTo(slicer.mrmlScene, strongestSpot(self.panel.result.current, row.index))

    def chooseLeading(self):
        """Choose the prototype with the largest share, unless one is chosen."""
        if self._rows and not self._chosen():
            self.panel.parameters.prototype = self._rows[0].index

    def findBest(self):
        """Look for the places most like the prototypes."""
        if self.panel.result:
            findBest(self.panel.result.whole)

    def list(self):
        """Fill the table, which takes a moment."""
        result = self.panel.result
        self._list(prototypeRows(result.whole) if result else [])
        self._ticked = None
        self.chooseLeading()
        self.panel.refresh()

    def refresh(self):
        """What-if, table, map and surfaces, each only where something that it shows has changed."""
        result, parameters = self.panel.result, self.panel.parameters
        if self.panel.isEntered:
            self.panel.views.lieUnder(BACKGROUNDS[parameters.background])
        wanted = tuple(sorted(parameters.disabledPrototypes))
        if result and wanted != result.disabled:
            self._whatIf(result, wanted)
        if (result and result.whole) is not self._listed:
            self._listed = result and result.whole
            self._ticked = None
            self._undo = []
            self._list([])
            if result:
                self.panel.idle.later("best similarities", self.findBest)
                self.panel.idle.later("prototypes", self.list)
        if result and result.disabled != self._ticked:
            self._ticked = result.disabled
            self._tick(result.disabled)
        self._select(self._chosen())
        self._enable(result)
        self._draw(result)

    def forget(self):
        """Show the map again at the next refresh: the views are others now."""
        self._drawn = None

    def _chosen(self):
        """The row of the chosen prototype; None where none is chosen, or one that another model had."""
        return next((row for row in self._rows if row.index == self.panel.parameters.prototype), None)

    def _turnOff(self, indices):
        before = list(self.panel.parameters.disabledPrototypes)
        if indices != before:
            self._undo.append(before)
            self.panel.parameters.disabledPrototypes = indices

    def _whatIf(self, result, indices):
        """Labels and volumes at once, the rest when idle."""
        try:
            self.panel.logic.results.whatIfFirst(result.nodes, indices)
            self.panel.completeLater(result.nodes)
        except Exception:
            self.panel.parameters.disabledPrototypes = list(result.disabled)
            self._ticked = None
            raise

    def _list(self, rows):
        self._rows = rows
        table = self.ui.prototypesTable
        blocked = table.blockSignals(True)
        table.rowCount = len(self._rows)
        for number, row in enumerate(self._rows):
            for column, text in enumerate(shortTexts(row)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(f"{row.className}: {row.name}")
                table.setItem(number, column, item)
            table.item(number, 1).setData(qt.Qt.DecorationRole, qt.QColor(*row.colour))
        table.blockSignals(blocked)

    def _tick(self, disabled):
        table = self.ui.prototypesTable
        blocked = table.blockSignals(True)
        for number, row in enumerate(self._rows):
            state = qt.Qt.Unchecked if row.index in disabled else qt.Qt.Checked
            table.item(number, 0).setCheckState(state)
        table.resizeColumnToContents(0)
        table.blockSignals(blocked)

    def _select(self, row):
        table = self.ui.prototypesTable
        if row and table.currentRow() != self._rows.index(row):
            blocked = table.blockSignals(True)
            table.setCurrentCell(self._rows.index(row), NAME)
            table.blockSignals(blocked)

    def _enable(self, result):
        row = self._chosen()
        for widget in (self.ui.strongestSpotButton, self.ui.volumeRenderingCheckBox, self.ui.surfaceCheckBox):
            widget.enabled = row is not None
        for widget in (self.ui.prototypesTable, self.ui.showMapCheckBox):
            widget.enabled = bool(self._rows)
        self.ui.undoButton.enabled = result is not None and bool(self._undo)
        self.ui.resetButton.enabled = result is not None and bool(result.disabled)
        self.ui.whatIfLabel.visible = result is not None and bool(result.disabled)
        self.ui.whatIfLabel.text = whatIfText(result.disabled) if result else ""
        said = f"Prototype {row.index}, {row.className}: {row.name}." if row else ""
        if result and not self._rows:
            said = no_prototypes(result.original.model["name"])
        self.ui.chosenLabel.text = said
        self.ui.chosenLabel.visible = bool(said)
        self.ui.prototypesHintLabel.visible = bool(self._rows) or result is None
        self.ui.mapScaleLabel.text = scaleText(result.original) if self._rows else ""
        self.ui.mapScaleLabel.visible = bool(self._rows)

    def _draw(self, result):
        """Change what differs from what was drawn last: map over the slices, cloud, painted surface."""
        parameters = self.panel.parameters
        if self._drawnOf and self._drawnOf is not result:
            self._clear(self._drawnOf)
        if not self._chosen():
            self._drawNone(result)
            return
        self._drawnOf = result
        overSlices = (parameters.threshold, parameters.opacity) if parameters.showMap else None
        if parameters.showUncertainty:
            overSlices = "uncertainty"
        wanted = {
            "map": (result.number, result.version, parameters.prototype),
            "slices": (result.number, result.version, parameters.prototype, overSlices),
            "cloud": parameters.showInThreeD,
            "surface": (result.key, parameters.prototype, parameters.showOnSurface),
        }
        before = {"surface": (None, None, False), "cloud": False, **(self._drawn or {})}
        self._drawn = wanted
        if wanted["map"] != before.get("map"):
            fillSimilarity(result.nodes.similarity, result.whole, parameters.prototype)
        if wanted["slices"] != before.get("slices"):
            self._drawOverSlices(result, overSlices)
        if wanted["cloud"] != before["cloud"]:
            showVolumeRendering(self.panel.logic.context, result.nodes, parameters.showInThreeD)
        if wanted["surface"] != before["surface"] and (parameters.showOnSurface or before["surface"][2]):
            self._paint(result, parameters.showOnSurface)

    def _paint(self, result, visible):
        if visible:
            self.panel.idle.later("painted surface", self.paint)
        else:
            paintSurface(self.panel.logic.context, result.nodes, result.current, False)

    def paint(self):
        """The chosen prototype on the surface of the tumour."""
        result = self.panel.result
        if result and self._chosen() and self.panel.parameters.showOnSurface:
            paintSurface(self.panel.logic.context, result.nodes, result.current, True)

    def _drawNone(self, result):
        """Without a prototype only the uncertainty, which its own section shows, can lie over the slices."""
        wanted = {"slices": "uncertainty"} if result and self.panel.parameters.showUncertainty else None
        if result and self._drawn and not wanted:
            hideHeatmap(self.panel.logic.context, result.nodes, slicesOf(slicer.mrmlScene))
        self._drawn, self._drawnOf = wanted, result

    def _clear(self, result):
        """Take another result's maps off the views; of one that was deleted in part, what is left of them."""
        self._drawn = None
        scene, context, nodes = slicer.mrmlScene, self.panel.logic.context, result.nodes
        parts = [node for node in vars(nodes).values() if node is not None]
        if nodes.similarity is not None and nodes.similarity.GetScene() is scene:
            showVolumeRendering(context, nodes, False)
        if all(node.GetScene() is scene for node in parts):
            hideHeatmap(context, nodes, slicesOf(scene))
            paintSurface(context, nodes, result.current, False)
            return
        ids = {node.GetID() for node in parts}
        for composite in slicesOf(scene):
            if composite.GetForegroundVolumeID() in ids:
                composite.SetForegroundVolumeID(None)

    def _drawOverSlices(self, result, overSlices):
        context, slices = self.panel.logic.context, slicesOf(slicer.mrmlScene)
        if overSlices is None:
            hideHeatmap(context, result.nodes, slices)
        elif overSlices != "uncertainty":
            index = self.panel.parameters.prototype
            showPrototype(context, result.nodes, result.whole, index, None, slices, *overSlices)


def shortTexts(row):
    """What a row of the table says in a narrow panel; its tooltip says all of it."""
    index, className, name, *others = row.texts
    return index, "BG" if className == CLASSES[0] else className, name.partition(": ")[0], *others


def whatIfText(disabled):
    """What the result is without."""
    which = ", ".join(map(str, disabled))
    return f"Shown without prototype{'s' * (len(disabled) > 1)} {which}: not the model's own result."


def scaleText(prediction):
    """What the map's numbers and voxels are."""
    columns = prediction.similarity_affine[:3, :3].T
    size = " × ".join(f"{(column @ column) ** 0.5:.3g}" for column in columns)
    return f"1: the same as the prototype's patch to the network; 0: unlike it. Voxels of {size} mm, not smoothed."
