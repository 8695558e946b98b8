"""The module's own arrangement of views: there while the module is shown, and what was before when it is left."""

import slicer
from ProtoSegBrainScene.layout import assignVolumes, compositeNodes, restoreLayout, showLayout


class Views:
    """Four modalities beside each other and 3D."""

    def __init__(self):
        self._earlier = None
        self._shown = None

    def enter(self):
        """Arrange the views; whoever arranges them otherwise meanwhile is not overruled."""
        layoutNode = layoutNodeOf(slicer.mrmlScene)
        if layoutNode is not None:
            earlier = showLayout(layoutNode)
            self._earlier = self._earlier or earlier  # 0: none, while a scene is being closed

    def assign(self, inputs):
        """Show each volume in its view, the whole of it; nothing is done where the views have them already."""
        ids = [node and node.GetID() for node in inputs.values()]
        if any(ids) and ids != self._shown:
            assignVolumes(slicer.mrmlScene, inputs)
            if slicer.app.layoutManager():
                slicer.util.resetSliceViews()
            self._shown = ids

    def leave(self):
        """Arrange the views as they were."""
        layoutNode = layoutNodeOf(slicer.mrmlScene)
        if layoutNode is not None and self._earlier:
            restoreLayout(layoutNode, self._earlier)
        self._earlier = None

    def forget(self):
        """The scene is another one."""
        self._shown = None


def layoutNodeOf(scene):
    """The node that says how the views are arranged; None in a scene without one."""
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def slicesOf(scene):
    """The composite nodes of all slice views: what a map is shown in."""
    return list(compositeNodes(scene).values())
