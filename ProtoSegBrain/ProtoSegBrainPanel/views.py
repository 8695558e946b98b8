"""The module's own arrangement of views: there while the module is shown, and what was before when it is left."""

import slicer
from ProtoSegBrainScene.layout import VIEWS, assignVolumes, compositeNodes, restoreLayout, showLayout
from ProtoSegBrainScene.sight import lookAtTumour

TITLE_MARGIN = 8
"""Pixels on both sides of a title together."""


class Views:
    """Four modalities beside each other and 3D."""

    def __init__(self):
        self._earlier = None
        self._under = None
        self._inputs = None
        self._shown = None
        self._areReset = False

    def enter(self):
        """Arrange the views; whoever arranges them otherwise meanwhile is not overruled."""
        layoutNode = layoutNodeOf(slicer.mrmlScene)
        if layoutNode is not None:
            earlier = showLayout(layoutNode)
            if self._earlier is None:  # not after a scene was closed; 0 is the arrangement that Slicer starts with
                self._earlier = earlier

    def assign(self, inputs):
        """Show each volume in its view, the whole of it; nothing is done where that was done already."""
        ids = [node and node.GetID() for node in inputs.values()]
        self._inputs = inputs
        if not any(ids) or self._shown == (ids, self._under):
            return
        areOthers = self._shown is None or self._shown[0] != ids
        changed = assignVolumes(slicer.mrmlScene, inputs, self._under)
        self._shown = (ids, self._under)
        self._areReset = bool(changed) and areOthers  # not in a scene that was loaded: its views are as they were left
        layoutManager = slicer.app.layoutManager()
        if layoutManager:
            if self._areReset:
                slicer.util.resetSliceViews()
            showWholeTitles(layoutManager)

    def lieUnder(self, role):
        """Show the volume of one modality in all views, or with None each view's own again."""
        if role != self._under:
            self._under = role
            if self._inputs is not None:
                self.assign(self._inputs)

    def look(self, prediction):
        """Move all views to the tumour of a result that has just come."""
        self._areReset = False
        lookAtTumour(slicer.mrmlScene, prediction)

    def lookAgain(self, prediction):
        """Do so when the images were brought back with the result."""
        if self._areReset:
            self.look(prediction)

    def leave(self):
        """Arrange the views as they were."""
        layoutNode = layoutNodeOf(slicer.mrmlScene)
        if layoutNode is not None and self._earlier is not None:
            restoreLayout(layoutNode, self._earlier)
        self._earlier = None

    def forget(self):
        """The scene is another one."""
        self._shown = self._inputs = None
        self._areReset = False


def showWholeTitles(layoutManager):
    """Slicer leaves room for one or two letters."""
    for name in VIEWS.values():
        widget = layoutManager.sliceWidget(name)
        for label in slicer.util.findChildren(widget, name="ViewLabel") if widget else []:
            label.setFixedWidth(label.fontMetrics().boundingRect(label.text).width() + TITLE_MARGIN)


def layoutNodeOf(scene):
    """The node that says how the views are arranged; None in a scene without one."""
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def slicesOf(scene):
    """The composite nodes of all slice views: what a map is shown in."""
    return list(compositeNodes(scene).values())
