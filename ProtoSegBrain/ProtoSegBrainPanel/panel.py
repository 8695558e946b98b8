"""The panel: what its sections share."""

import logging
import traceback

import qt
import vtk
from ProtoSegBrainScene.result import inputsOf
from slicer.util import VTKObservationMixin

from ProtoSegBrainPanel.inputs import InputsSection
from ProtoSegBrainPanel.installation import InstallationSection
from ProtoSegBrainPanel.message import MessageSection
from ProtoSegBrainPanel.parameternode import BACKGROUNDS, ProtoSegBrainParameterNode
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
        self._shownSegmentation = None
        self._makeSections()
        self._timer = qt.QTimer()
        self._timer.interval = POLLING_MS
        self._timer.timeout.connect(self.guarded(self.poll))
        self.initializeParameterNode()

    def _makeSections(self):
        self.requests = Requests(self.logic)
        self.views = Views()
        self.message = MessageSection(self, self.ui)
        self.inputs = InputsSection(self, self.ui)
        self.run = RunSection(self, self.ui)
        self.prototypes = PrototypesSection(self, self.ui)
        self.why = WhySection(self, self.ui)
        self.uncertainty = UncertaintySection(self, self.ui)
        self.installation = InstallationSection(self, self.ui)
        # What-if, which the prototypes do, changes what the result shows: they come first.
        self.sections = (
            *(self.inputs, self.run, self.prototypes, ResultSection(self, self.ui)),
            *(self.why, self.uncertainty, self.installation),
        )
        self._sceneObserver = SceneObserver(self)

    def enter(self):
        """The module is opened."""
        self.isEntered = True
        self.why.observe()
        self.guarded(self.views.enter)()
        self.guarded(self.showInputs)()
        self.guarded(self.inputs.fillEmpty)()
        self.guarded(self.installation.lookForDevices)()

    def exit(self):
        """Another module is opened."""
        self.isEntered = False
        self.inputs.stop()
        self.why.ignore()
        self.guarded(self.views.leave)()

    def close(self):
        """End what runs and follow nothing any more."""
        if self.isEntered:
            self.exit()
        self._timer.stop()
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

    @property
    def background(self):
        """The volume that was chosen to lie under a map in all views; None: each view keeps its own."""
        role = BACKGROUNDS[self.parameters.background]
        return self.inputs.nodes()[role] if role else None

    def initializeParameterNode(self):
        """Make sure that there is a parameter node, and show what it says."""
        self.setParameterNode(ProtoSegBrainParameterNode(self.logic.getParameterNode()))

    def setParameterNode(self, parameters):
        """Follow another parameter node, or none."""
        if self.parameters:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self.parameters = parameters
        if self.parameters:
            self._shownSegmentation = self.parameters.segmentation
            self._guiTag = self.parameters.connectGui(self.ui)
            self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
            self.onModified()

    def onModified(self, _caller=None, _event=None):
        """Something was chosen."""
        self.guarded(self.refresh)()

    def refresh(self):
        """All sections show what is."""
        if self._isRefreshing or not self.parameters:
            return
        self._isRefreshing = True
        try:
            if self.parameters.segmentation is not self._shownSegmentation:
                self._shownSegmentation = self.parameters.segmentation
                self.parameters.disabledPrototypes = list(self.result.disabled) if self.result else []
            for section in self.sections:
                section.refresh()
        finally:
            self._isRefreshing = False

    def showInputs(self):
        """The chosen images in the module's own views, the maps over them."""
        if self.isEntered:
            self.views.assign(self.inputs.nodes())
        self.prototypes.forget()
        self.uncertainty.forget()
        self.refresh()

    def forget(self):
        """The scene is another one: nothing that was read from it or shown in it holds."""
        for part in (self.logic.results, self.views, self.prototypes, self.uncertainty):
            part.forget()

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

    def finish(self, prediction, inputs):
        """Show a result that has come; an older one of the same inputs makes way."""
        older = self.result
        isSame = older is not None and inputsOf(older.nodes) == inputs
        nodes = self.logic.results.show(prediction, inputs, older.nodes.segmentation if isSame else None)
        self._shownSegmentation = nodes.segmentation
        self.parameters.disabledPrototypes = []
        self.parameters.segmentation = nodes.segmentation
        self.prototypes.chooseLeading()
        self.showInputs()

    def guarded(self, action):
        """The method, with its errors shown; of a signal's arguments it gets as many as it takes."""
        count = action.__func__.__code__.co_argcount - 1

        def attempt(*arguments):
            try:
                return action(*arguments[:count])
            except Exception as error:
                logging.exception("ProtoSegBrain")
                self.message.show(str(error) or type(error).__name__, traceback.format_exc())
                return None

        return attempt
