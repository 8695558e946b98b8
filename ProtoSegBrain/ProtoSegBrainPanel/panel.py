"""The panel: what its sections share."""

import logging
import traceback

import qt
import vtk
from ProtoSegBrainScene.parts import partsOf, setFree
from slicer.util import VTKObservationMixin

from ProtoSegBrainPanel.compare import CompareSection
from ProtoSegBrainPanel.correct import CorrectSection
from ProtoSegBrainPanel.idle import Idle
from ProtoSegBrainPanel.inputs import InputsSection
from ProtoSegBrainPanel.installation import InstallationSection
from ProtoSegBrainPanel.message import MessageSection, wordsOf
from ProtoSegBrainPanel.parameternode import ProtoSegBrainParameterNode
from ProtoSegBrainPanel.patient import Patient
from ProtoSegBrainPanel.prototypes import PrototypesSection
from ProtoSegBrainPanel.requests import Requests
from ProtoSegBrainPanel.result import ResultSection
from ProtoSegBrainPanel.run import RunSection
from ProtoSegBrainPanel.scene import SceneObserver
from ProtoSegBrainPanel.uncertainty import UncertaintySection
from ProtoSegBrainPanel.views import Views
from ProtoSegBrainPanel.why import WhySection

POLLING_MS = 100


class Panel(VTKObservationMixin):
    """Makes the sections, tells them to refresh, and is the one place that catches errors."""

    def __init__(self, logic, ui):
        VTKObservationMixin.__init__(self)
        self.logic = logic
        self.ui = ui
        self.parameters = None
        self._guiTag = None
        self.isEntered = False
        self._isRefreshing = False
        self._held = 0
        self._makeSections()
        self._timer = qt.QTimer()
        self._timer.interval = POLLING_MS
        self._timer.timeout.connect(self.guarded(self.poll))
        self.initializeParameterNode()

    def _makeSections(self):
        self.requests = Requests(self.logic)
        self.views = Views()
        self.idle = Idle(self)
        self.patient = Patient(self)
        self.message = MessageSection(self, self.ui)
        self.inputs = InputsSection(self, self.ui)
        self.run = RunSection(self, self.ui)
        self.prototypes = PrototypesSection(self, self.ui)
        self.why = WhySection(self, self.ui)
        self.correct = CorrectSection(self, self.ui)
        self.compare = CompareSection(self, self.ui)
        self.uncertainty = UncertaintySection(self, self.ui)
        self.installation = InstallationSection(self, self.ui)
        # What-if, which the prototypes do, changes what the result shows: they come first.
        self.resultSection = ResultSection(self, self.ui)
        self.sections = (
            *(self.inputs, self.run, self.prototypes, self.resultSection),
            *(self.why, self.correct, self.compare, self.uncertainty, self.installation),
        )
        self._sceneObserver = SceneObserver(self)

    def enter(self):
        """The module is opened."""
        self.isEntered = True
        self.why.observe()
        self.correct.enter()
        self.guarded(self.views.enter)()
        self.guarded(self.showInputs)()
        self.guarded(self.compare.arrange)()
        self.guarded(self.inputs.fillEmpty)()
        self.guarded(self.installation.lookForDevices)()

    def exit(self):
        """Another module is opened."""
        self.isEntered = False
        self.inputs.stop()
        self.why.ignore()
        self.guarded(self.correct.leave)()
        self.guarded(self.views.leave)()

    def close(self):
        """End what runs and follow nothing any more."""
        if self.isEntered:
            self.exit()
        self._timer.stop()
        self.idle.forget()
        self.inputs.stop()
        self.requests.cancel()
        self.logic.close()
        self.setParameterNode(None)
        self._sceneObserver.removeObservers()
        self.removeObservers()

    # -- state --

    @property
    def result(self):
        """The result of the chosen segmentation; None if there is none."""
        return self.logic.results.of(self.parameters.segmentation) if self.parameters else None

    def initializeParameterNode(self):
        """Make sure that there is a parameter node, and show what it says."""
        self.setParameterNode(ProtoSegBrainParameterNode(self.logic.getParameterNode()))

    def setParameterNode(self, parameters):
        """Follow another parameter node, or none."""
        if self.parameters:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
            self.inputs.follow([])
        self.parameters = parameters
        if self.parameters:
            self.patient.follow(self.parameters)
            self._guiTag = self.parameters.connectGui(self.ui)
            self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
            self.onModified()

    def onModified(self, _caller=None, _event=None):
        """Something was chosen."""
        self.guarded(self.refresh)()

    def refresh(self):
        """All sections show what is, of one patient."""
        if self._isRefreshing or self._held or not self.parameters:
            return
        self._isRefreshing = True
        try:
            self.patient.settle()
            for section in self.sections:
                section.refresh()
        finally:
            self._isRefreshing = False

    def hold(self):
        """Refresh no more until ``release``: several things change together."""
        self._held += 1

    def release(self):
        """They have changed."""
        self._held -= 1

    def showInputs(self):
        """The chosen images in the module's own views, the maps over them."""
        if self.isEntered and self.parameters:
            self.views.assign(self.inputs.nodes())
        self.drawAgain()
        self.refresh()

    def drawAgain(self):
        """Show the result anew at the next refresh: it or the views are others now."""
        for section in (self.prototypes, self.uncertainty, self.resultSection):
            section.forget()

    def forget(self):
        """The scene is another one: nothing that was read from it or shown in it holds."""
        for part in (self.logic.results, self.views, self.patient, self.inputs, self.correct, self.compare, self.idle):
            part.forget()
        self.drawAgain()

    def returnToScene(self):
        """Show what the scene says, after it was closed or loaded."""
        self.initializeParameterNode()
        if self.isEntered:
            self.why.observe()
            self.guarded(self.showInputs)()

    # -- running --

    def isInstalled(self):
        """Whether all packages are there; offers to install them where they are not."""
        return not self.installation.missing() or self.installation.install()

    def listen(self):
        """Ask the worker for news until all is answered."""
        self._timer.start()
        self.refresh()

    def poll(self):
        """News from the worker."""
        try:
            self.requests.poll()
        finally:
            self.run.tick()
            if not self.requests.isWaiting:
                self._timer.stop()
                self.refresh()

    def finish(self, prediction, asked):
        """Show a result that has come; an older one of the same images, as they were then, makes way."""
        results = self.logic.results
        older = results.segmentationOf(asked.inputs)
        self.hold()
        try:
            mask = self.parameters.brainMask
            if older is not None and mask is not None and mask in partsOf(older):
                setFree(older, mask)  # it was mended, perhaps
            nodes = results.showFirst(prediction, asked.inputs, older, asked.fingerprints)
            self.parameters.disabledPrototypes = []
            self.parameters.showAligned = True
            self.parameters.segmentation = nodes.segmentation
        finally:
            self.release()
        self.showInputs()
        self.views.look(prediction)
        self.completeLater(nodes)

    def completeLater(self, nodes):
        """What of a result is not seen at once, when the window is idle."""
        for name, step in self.logic.results.rest(nodes).items():
            self.idle.later((nodes.segmentation.GetID(), name), step)

    def guarded(self, action):
        """The method, with its errors shown; of a signal's arguments it gets as many as it takes."""
        count = action.__func__.__code__.co_argcount - 1

        def attempt(*arguments):
            try:
                return action(*arguments[:count])
            except Exception as error:
                logging.exception("ProtoSegBrain")
                self.message.show(wordsOf(error), traceback.format_exc())
                return None

        return attempt
