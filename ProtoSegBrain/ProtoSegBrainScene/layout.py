"""The module's own arrangement of views: FLAIR, T1, T1ce and T2 in linked slices, and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer

from ProtoSegBrainLib.labels import MODALITY_NAMES

LAYOUT_ID = 5172
"""Of our own: Slicer's are below 100, those of other extensions best chosen at random."""
VIEWS = {"t2f": "PSB-FLAIR", "t1n": "PSB-T1", "t1c": "PSB-T1ce", "t2w": "PSB-T2"}
"""Name of the slice view of each modality; none of Slicer's own views is touched."""
VIEW_COLOURS = {"t2f": "#F34A33", "t1n": "#EDD54C", "t1c": "#6EB04B", "t2w": "#4A90C2"}
VIEW_GROUP = 0
THREE_D_VIEW = "1"
"""Slicer's own, so that its camera stays."""


def layoutXml() -> str:
    """The description of the arrangement in Slicer's words: two rows of two slices, 3D on the right."""
    flair, t1, t1ce, t2 = (_sliceItem(role) for role in VIEWS)
    threeD = f'<item><view class="vtkMRMLViewNode" singletontag="{THREE_D_VIEW}">'
    threeD += '<property name="viewlabel" action="default">1</property></view></item>'
    rows = "".join(f'<item><layout type="horizontal">{row}</layout></item>' for row in (flair + t1, t1ce + t2))
    slices = f'<item splitSize="600"><layout type="vertical">{rows}</layout></item>'
    threeD = threeD.replace("<item>", '<item splitSize="400">', 1)
    return f'<layout type="horizontal" split="true">{slices}{threeD}</layout>'


def showLayout(layoutNode: Any) -> int:
    """Arrange the views; returns the arrangement that was, for ``restoreLayout``.

    Args:
        layoutNode: vtkMRMLLayoutNode, in the application ``slicer.app.layoutManager().layoutLogic().GetLayoutNode()``.
    """
    earlier = layoutNode.GetViewArrangement()
    if earlier == LAYOUT_ID:  # a scene was saved in it
        earlier = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    if not layoutNode.IsLayoutDescription(LAYOUT_ID):
        layoutNode.AddLayoutDescription(LAYOUT_ID, layoutXml())
    layoutNode.SetViewArrangement(LAYOUT_ID)
    return earlier


def restoreLayout(layoutNode: Any, earlier: int) -> None:
    """Arrange the views as before ``showLayout``, unless the user chose another arrangement meanwhile."""
    if layoutNode.GetViewArrangement() == LAYOUT_ID:
        layoutNode.SetViewArrangement(earlier)


def assignVolumes(scene: Any, inputs: Mapping[str, Any], under: str | None = None) -> list[Any]:
    """Show each modality in its own slice view, linked; views that are not there yet are left out.

    Args:
        scene: With the views of the arrangement.
        inputs: Volume nodes by modality.
        under: A modality that is to be shown in all slice views instead, as far as it is there; Slicer's own views are
            changed only then. The title of each of our views says what it shows.

    Returns:
        The composite nodes of the views whose image is another one now, in the order FLAIR, T1, T1ce, T2.
    """
    found = compositeNodes(scene)
    common = inputs.get(under) if under else None
    changed = []
    for role, name in VIEWS.items():
        if name in found:
            shown = role if common is None else under
            _nameView(scene, name, MODALITY_NAMES[shown])
            changed += [found[name]] * _setBackground(found[name], inputs.get(shown))
            found[name].SetLinkedControl(True)
            found[name].SetHotLinkedControl(True)
    for name in set(found) - set(VIEWS.values()):
        if common is not None:
            _setBackground(found[name], common)
    return changed


def compositeNodes(scene: Any) -> dict[str, Any]:
    """The composite nodes of all slice views by the name of the view."""
    kind = "vtkMRMLSliceCompositeNode"
    nodes = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    return {node.GetLayoutName(): node for node in nodes}


def ownCompositeNodes(scene: Any) -> list[Any]:
    """The composite nodes of our own slice views, as far as they are there."""
    found = compositeNodes(scene)
    return [found[name] for name in VIEWS.values() if name in found]


def jumpTo(scene: Any, ras: Sequence[float]) -> None:
    """Centre all slice views on a place (RAS mm) and put the crosshair there."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*ras)


def nameViews(scene: Any) -> None:
    """Titles and colours of our own slice views, where an arrangement has not given them theirs yet."""
    for role, name in VIEWS.items():
        _nameView(scene, name, MODALITY_NAMES[role])
        view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if view is not None:
            view.SetLayoutColor(*[int(VIEW_COLOURS[role][n : n + 2], 16) / 255 for n in (1, 3, 5)])


def _nameView(scene: Any, name: str, title: str) -> None:
    view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
    if view is not None and view.GetLayoutLabel() != title:
        view.SetLayoutLabel(title)


def _setBackground(composite: Any, node: Any) -> bool:
    """Whether that is another image than before."""
    shown = None if node is None else node.GetID()
    if composite.GetBackgroundVolumeID() == shown:
        return False
    composite.SetBackgroundVolumeID(shown)
    return True


def _sliceItem(role: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{VIEWS[role]}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{MODALITY_NAMES[role]}</property>'
        f'<property name="viewcolor" action="default">{VIEW_COLOURS[role]}</property>'
        "</view></item>"
    )
