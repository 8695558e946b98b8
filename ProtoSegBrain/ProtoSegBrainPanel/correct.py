"""Points that a person places where the result is wrong; each is a prototype of the result."""

import qt
import slicer
import vtk
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE
from ProtoSegBrainScene.points import (
    areTaught,
    colourOf,
    inBrain,
    interactionOf,
    numberPoints,
    paintedPoints,
    placedClass,
    pointNodes,
    pointsOf,
    setPoints,
    showPoints,
    startPlacing,
    stopPlacing,
)
from ProtoSegBrainScene.result import inputsOf

from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainPanel.run import DEVICES
from ProtoSegBrainPanel.why import hasReasons

HINT = "Choose a class, then click into a slice where it should be. What looks alike nearby changes with it."
READING = "Reading the images…"
DELAY_MS = 40
"""After the last movement of a point: one that is dragged moves many times."""
EVENTS = ("PointAddedEvent", "PointModifiedEvent", "PointPositionDefinedEvent", "PointRemovedEvent")
KEYS = "1234"
"""Of the four classes."""


class CorrectSection:
    """Four buttons that place points, what was learned from them, and the ways back."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._observed = []
        self._earlier = {}
        self._reading = self._interaction = self._shown = None
        self._timer = qt.QTimer()
        self._timer.interval = DELAY_MS
        self._timer.timeout.connect(panel.guarded(self.learn))
        self._makeButtons()
        for button, action in (
            (ui.undoPointButton, self.undo),
            (ui.removePointButton, self.removeChosen),
            (ui.removeAllPointsButton, self.removeAll),
            (ui.paintedButton, self.takePainted),
            (ui.saveCorrectedButton, self.saveCase),
        ):
            button.clicked.connect(panel.guarded(action))
        ui.paintedSelector.currentNodeChanged.connect(panel.guarded(self.refresh))

    def _makeButtons(self):
        ui = self.ui
        self._buttons = dict(
            zip(CLASSES, (ui.pointNoneButton, ui.pointNCRButton, ui.pointEDButton, ui.pointETButton), strict=True)
        )
        self._keys = []
        actions = (self.placeNone, self.placeNCR, self.placeED, self.placeET)
        for (name, button), key, action in zip(self._buttons.items(), KEYS, actions, strict=True):
            picture = qt.QPixmap(12, 12)
            picture.fill(qt.QColor(*colourOf(name)))
            button.icon = qt.QIcon(picture)
            button.clicked.connect(self.panel.guarded(action))
            shortcut = qt.QShortcut(ui.correctCollapsibleButton)
            shortcut.key = qt.QKeySequence(key)
            shortcut.enabled = False
            shortcut.activated.connect(self.panel.guarded(action))
            self._keys.append(shortcut)

    # -- placing --

    def enter(self):
        """The keys place points while the module is open."""
        self.leave()
        for shortcut in self._keys:
            shortcut.enabled = True
        self._interaction = interactionOf(slicer.mrmlScene)
        if self._interaction:
            self.panel.addObserver(self._interaction, vtk.vtkCommand.ModifiedEvent, self.onMode)

    def leave(self):
        """The keys are others' again, and so is the mouse."""
        for shortcut in self._keys:
            shortcut.enabled = False
        if self._interaction:
            self.panel.removeObserver(self._interaction, vtk.vtkCommand.ModifiedEvent, self.onMode)
            self._interaction = None
        self._timer.stop()
        if self.panel.result:
            stopPlacing(self.panel.result.nodes.segmentation)

    def onMode(self, _caller, _event):
        """Placing has begun or has ended, by whomever."""
        self._check()

    def placeNone(self):
        """Clicks are places without a tumour, or no places any more."""
        self._place(CLASSES[0])

    def placeNCR(self):
        """The same of NCR."""
        self._place("NCR")

    def placeED(self):
        """The same of ED."""
        self._place("ED")

    def placeET(self):
        """The same of ET."""
        self._place("ET")

    def _place(self, name):
        if not self._canCorrect():
            return
        result = self.panel.result
        segmentation = result.nodes.segmentation
        if placedClass(segmentation) == name:
            stopPlacing(segmentation)
        else:
            startPlacing(segmentation, name, True)
            if result.embedding is None:  # meanwhile the person aims
                self._read(result)
        self.panel.refresh()

    # -- learning --

    def onPoints(self, _caller, _event):
        """A point was placed, moved or removed: learn from it when it rests."""
        self._timer.start()

    def learn(self):
        """Correct the result by the points that there are; those outside the brain go, and a sentence says so."""
        self._timer.stop()
        result = self.panel.result
        if result is None:
            return
        segmentation = result.nodes.segmentation
        points = pointsOf(segmentation)
        inside = [point for point in points if inBrain(result.original, point.places).all()]
        if len(inside) < len(points):
            setPoints(segmentation, inside)
        numberPoints(segmentation)
        self._learn(result, inside)
        if len(inside) < len(points):
            raise ValueError("A point lies outside the brain of this result, and was taken away; click inside it.")

    def _learn(self, result, points):
        """All of this is undone where it fails."""
        before = self._learned(result)
        if areTaught(points, result.whole.evidence.taught):
            return
        if points and result.embedding is None:
            self._read(result)
            return
        self._correct(result, points)
        self._earlier.setdefault(result.number, []).append((before, points))

    def _correct(self, result, points):
        self.panel.hold()
        try:
            self.panel.logic.results.teachFirst(result.nodes, points)
            self.panel.parameters.disabledPrototypes = list(result.disabled)
        except Exception:
            setPoints(result.nodes.segmentation, self._learned(result))
            raise
        finally:
            self.panel.release()
        self.panel.completeLater(result.nodes)
        self.panel.refresh()

    def _learned(self, result):
        """The points of what is shown."""
        taught = result.whole.evidence.taught
        steps = self._earlier.get(result.number)
        if steps and areTaught(steps[-1][1], taught):
            return steps[-1][1]
        return [p for p in pointsOf(result.nodes.segmentation) if any(areTaught([p], [each]) for each in taught)]

    # -- the embedding --

    def _read(self, result):
        """Ask for what points are learned by, once."""
        if self._isReading(result):
            return
        parameters = self.panel.parameters
        settings = {"device": DEVICES[parameters.device], "modelPath": parameters.modelPath or None}
        self.panel.requests.embed(result.nodes, self, **settings)
        self._reading = result
        self.panel.listen()

    def _isReading(self, result):
        return self._reading is result and self.panel.requests.waits(self)

    def progress(self, _fraction, _message):
        """News from the worker."""

    def done(self, answer, _asked):
        """The embedding is there: learn from the points that wait for it."""
        result, self._reading = self._reading, None
        if result is None or self.panel.logic.results.of(result.nodes.segmentation) is not result:
            return
        try:
            self.panel.logic.results.learnFrom(result.nodes, answer.embedding)
        except ValueError:
            setPoints(result.nodes.segmentation, self._learned(result))
            raise
        if result is self.panel.result:
            self.learn()

    def failed(self, message, details):
        """There is none: points that nobody learned from go."""
        result, self._reading = self._reading, None
        if result is not None and self.panel.logic.results.of(result.nodes.segmentation) is result:
            setPoints(result.nodes.segmentation, self._learned(result))
            stopPlacing(result.nodes.segmentation)
        self.panel.message.show(message, details, self.panel.installation.remedyOf(details))

    # -- back --

    def undo(self):
        """As before the last change of the points."""
        result = self.panel.result
        steps = self._earlier.get(result.number)
        if steps:
            before, _ = steps.pop()
            self._set(result, before)

    def removeChosen(self):
        """The point whose row is chosen among the prototypes goes."""
        result, number = self.panel.result, self._chosen()
        points = pointsOf(result.nodes.segmentation)
        setPoints(result.nodes.segmentation, [p for n, p in enumerate(points, start=1) if n != number])
        self.learn()

    def removeAll(self):
        """The model's own result again."""
        setPoints(self.panel.result.nodes.segmentation, [])
        self.learn()

    def _set(self, result, points):
        setPoints(result.nodes.segmentation, points)
        if not areTaught(points, result.whole.evidence.taught):
            self._correct(result, points)

    def _chosen(self):
        """Number of the point whose row is chosen; None where it is none."""
        result = self.panel.result
        evidence = result.whole.evidence if result else None
        behind = self.panel.parameters.prototype - evidence.n_learned if evidence else -1
        return behind + 1 if evidence and 0 <= behind < len(evidence.taught) else None

    # -- painted, kept --

    def takePainted(self):
        """Each piece that was painted becomes a point."""
        painted, result = self.ui.paintedSelector.currentNode(), self.panel.result
        if painted.GetAttribute(RESULT_ATTRIBUTE):
            raise ValueError("Choose a segmentation that you painted, with segments called NCR, ED, ET or No tumour.")
        segmentation = result.nodes.segmentation
        setPoints(segmentation, [*pointsOf(segmentation), *paintedPoints(painted)])
        self.learn()

    def saveCase(self):
        """Ask for a folder and write the images with the corrected label, to train on."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Folder of corrected cases")
        if folder:
            with slicer.util.WaitCursor():
                written = self.panel.logic.saveCorrectedCase(self.panel.result.nodes, folder)
            self.panel.message.show(f"Wrote the images and the corrected label to {written}.")

    # -- showing --

    def refresh(self):
        """Buttons, sentence, and whose points are watched."""
        result = self.panel.result
        canCorrect = self._canCorrect()
        taught = result.whole.evidence.taught if result else ()
        for button in self._buttons.values():
            button.enabled = canCorrect
        self._check()
        if result is not None and result is not self._shown:
            showPoints(result.nodes.segmentation, True)
        self._shown = result
        self.ui.undoPointButton.enabled = bool(result and self._earlier.get(result.number))
        self.ui.removePointButton.enabled = self._chosen() is not None
        self.ui.removeAllPointsButton.enabled = self.ui.saveCorrectedButton.enabled = bool(taught)
        self.ui.paintedButton.enabled = canCorrect and self.ui.paintedSelector.currentNode() is not None
        self.ui.correctLabel.text = READING if result and self._isReading(result) else correctedText(taught)
        self._observe(result)

    def _check(self):
        result = self.panel.result
        placed = placedClass(result.nodes.segmentation) if result else None
        for name, button in self._buttons.items():
            button.checked = name == placed

    def forget(self):
        """The scene is another one."""
        self._timer.stop()
        self._earlier, self._reading, self._shown = {}, None, None
        self._observe(None)

    def _canCorrect(self):
        result = self.panel.result
        return hasReasons(result) and set(inputsOf(result.nodes)) == set(MODALITIES)

    def _observe(self, result):
        """Hear of the points of one result, and of the end of placing."""
        nodes = [*pointNodes(result.nodes.segmentation).values()] if result else []
        if [node for node, _, _ in self._observed[:: len(EVENTS)]] == nodes:
            return
        for node, event, action in self._observed:
            self.panel.removeObserver(node, event, action)
        self._observed = [(node, getattr(node, name), self.onPoints) for node in nodes for name in EVENTS]
        for node, event, action in self._observed:
            self.panel.addObserver(node, event, action)


def correctedText(taught):
    """What was learned from."""
    if not taught:
        return HINT
    said = ", ".join(f"{each.number} {each.class_name}" for each in taught)
    return f"Corrected by {len(taught)} point{'s' * (len(taught) > 1)} ({said}): not the model's own result."
