"""What happens to the scene while the panel is there: it is closed, another is loaded, nodes are removed."""

import slicer
import vtk
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE, isMove, liftContents, removeOrphans
from slicer.util import VTKObservationMixin

from ProtoSegBrainPanel.inputs import PARAMETERS

CHOSEN = ("segmentation", "brainMask", *PARAMETERS.values())
"""Nodes in the parameter node."""
FIRST = 1.0
"""Priority of an observer that is told before all others."""


class SceneObserver(VTKObservationMixin):
    """Ends what runs for nodes that go, and shows what a loaded scene says."""

    def __init__(self, panel):
        VTKObservationMixin.__init__(self)
        self.panel = panel
        self._going = None
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onEndImport)
        self.addObserver(scene, scene.StartSaveEvent, self.onStartSave)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        # Before the selectors, which would choose the node beside the one that goes.
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved, priority=FIRST)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)

    def onStartClose(self, _caller, _event):
        """The scene goes: so does what runs for it."""
        self._abort("The scene was closed; the segmentation was cancelled.")
        self.panel.inputs.stop()
        self.panel.why.ignore()
        self.panel.setParameterNode(None)
        self.panel.forget()

    def onEndClose(self, _caller, _event):
        """An empty scene; Slicer may have arranged the views anew."""
        if self.panel.isEntered:
            self.panel.views.enter()
        self.panel.returnToScene()

    def onEndImport(self, _caller, _event):
        """A scene was loaded: inputs, result, chosen prototype and displays are shown as it says."""
        self.panel.idle.finish()  # of results that were there before
        self.panel.forget()
        self.panel.returnToScene()

    def onStartSave(self, _caller, _event):
        """What was left for later belongs to what is saved."""
        self.panel.idle.finish()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, _caller, _event, node):
        """A volume that may be an input, while the module is open."""
        if self.panel.isEntered and self.panel.parameters and node.IsA("vtkMRMLScalarVolumeNode"):
            self.panel.inputs.fillSoon()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, _caller, _event, node):
        """A chosen node goes: nothing is chosen in its place."""
        parameters = self.panel.parameters
        if parameters is None or slicer.mrmlScene.IsClosing():
            return
        if isMove(node):  # before the images under it lose what is above it
            liftContents(node)
        names = [name for name in CHOSEN if getattr(parameters, name) is node]
        if names:
            self._going = node
            self.panel.hold()
        for name in names:
            setattr(parameters, name, None)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, _caller, _event, node):
        """A node that was in use may be gone."""
        if self.panel.parameters is None or slicer.mrmlScene.IsClosing():
            return
        if self.panel.requests.needs(node):
            self._abort(f"{node.GetName()} was removed; the segmentation was cancelled.")
        part = node.GetAttribute(RESULT_ATTRIBUTE)
        isOurs = self.panel.logic.results.lose(node) or part is not None
        if part == "segmentation":  # not at once: more may be about to go with it
            self.panel.idle.later("orphans", self.removeOrphans)
        if node is self._going:
            self._going = None
            self.panel.release()
        elif not isOurs:
            return
        if isOurs:
            self.panel.drawAgain()
        self.panel.onModified()

    def removeOrphans(self):
        """What is left hidden of results whose segmentation was deleted."""
        removeOrphans(slicer.mrmlScene)

    def _abort(self, reason):
        if self.panel.requests.isSegmenting:
            self.panel.run.cancel(reason)
            self.panel.message.show(reason)
