"""Where the parts of a result stand in the tree of the Data module."""

from mrml import hierarchy_of, shown
from ProtoSegBrainScene.parts import partsOf
from ProtoSegBrainScene.rendering import paintSurface
from ProtoSegBrainScene.result import removeResult


def folder_of(hierarchy, node):
    return hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)))


def test_all_parts_stand_in_the_folder_of_the_result_the_painted_surface_too():
    context, _, prediction, nodes = shown()
    paintSurface(context, nodes, prediction, True)
    hierarchy = hierarchy_of(context.scene)
    parts = partsOf(nodes.segmentation)
    assert len(parts) == len([part for part in vars(nodes).values() if part is not None]) + 1
    assert {folder_of(hierarchy, part) for part in parts} == {"ProtoSegBrain by_hand"}


def test_nothing_stays_in_the_folder():
    context, _, prediction, nodes = shown()
    paintSurface(context, nodes, prediction, True)
    removeResult(nodes)
    kinds = [context.scene.GetNthNode(n).GetClassName() for n in range(context.scene.GetNumberOfNodes())]
    assert "vtkMRMLSegmentationNode" not in kinds
    hierarchy = hierarchy_of(context.scene)
    assert hierarchy.GetItemChildWithName(hierarchy.GetSceneItemID(), "ProtoSegBrain by_hand") == 0
