"""What happens to the scene while the panel is there: it is closed, another is loaded, nodes are removed."""

import slicer
import vtk
from slicer.util import VTKObservationMixin


class SceneObserver(VTKObservationMixin):
    """Ends what runs for nodes that go, and shows what a loaded scene says."""

    def __init__(self, panel):
        VTKObservationMixin.__init__(self)
        self.panel = panel
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onEndImport)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
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
        self.panel.forget()
        self.panel.returnToScene()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, _caller, _event, node):
        """A volume that may be an input, while the module is open."""
        if self.panel.isEntered and self.panel.parameters and node.IsA("vtkMRMLScalarVolumeNode"):
            self.panel.inputs.fillSoon()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, _caller, _event, node):
        """A node that was in use may be gone."""
        if self.panel.parameters is None or slicer.mrmlScene.IsClosing():
            return
        if self.panel.requests.needs(node):
            self._abort(f"{node.GetName()} was removed; the segmentation was cancelled.")
        if self.panel.logic.results.holds(node):
            self.panel.logic.results.forget()
            self.panel.onModified()

    def _abort(self, reason):
        if self.panel.requests.isSegmenting:
            self.panel.run.cancel(reason)
            self.panel.message.show(reason)
