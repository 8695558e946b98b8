"""What was chosen in the panel; saved with the scene."""

from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

OWN_IMAGE = "Each view's own"
BACKGROUNDS = {OWN_IMAGE: None, "FLAIR": "t2f", "T1": "t1n", "T1ce": "t1c", "T2": "t2w"}
"""What may lie under a map, and its modality."""
PREPARE = {"Automatic": "auto", "As it is": "none", "All": "all"}
"""What is done to the images before they are segmented, and what the library calls it."""


@parameterNodeWrapper
class ProtoSegBrainParameterNode:
    """Names as in the .ui file, whose widgets are bound to them."""

    inputFlair: vtkMRMLScalarVolumeNode
    inputT1: vtkMRMLScalarVolumeNode
    inputT1ce: vtkMRMLScalarVolumeNode
    inputT2: vtkMRMLScalarVolumeNode
    prepare: Annotated[str, Choice(list(PREPARE))] = "Automatic"
    brainMask: vtkMRMLSegmentationNode
    device: Annotated[str, Choice(["Automatic", "GPU", "CPU"])] = "Automatic"
    modelPath: str = ""
    testTimeAugmentation: bool = False
    segmentation: vtkMRMLSegmentationNode
    showThreeD: bool = True
    showOutlines: bool = False
    showAligned: bool = True
    prototype: int = -1
    disabledPrototypes: list[int]
    background: Annotated[str, Choice(list(BACKGROUNDS))] = OWN_IMAGE
    showMap: bool = False
    threshold: Annotated[float, WithinRange(0, 1)] = 0.3
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    showInThreeD: bool = False
    showOnSurface: bool = False
    showUncertainty: bool = False
