"""Segments: where they are, what they mean, that they keep what a user gave them."""

import numpy as np
import pytest
import slicer
import vtk
from mrml import FLIPPED, GRIDS, OBLIQUE, SHAPE, a_context, a_prediction, add_inputs, label_seen, move
from ProtoSegBrainScene.context import TERMINOLOGY, contextForCore
from ProtoSegBrainScene.grid import worldAffineOf
from ProtoSegBrainScene.result import showPrediction, updateResult
from ProtoSegBrainScene.segmentation import (
    TERMINOLOGY_TAG,
    hideRegions,
    segmentNames,
    show3D,
    showClasses,
    shown3D,
    showRegions,
)

from ProtoSegBrainLib.dicom.codes import BRAIN, CATEGORY, FOUND
from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import CLASS_COLOURS, REGIONS


def shown(affine=OBLIQUE):
    context = a_context()
    inputs = add_inputs(context.scene, affine)
    prediction = a_prediction(affine)
    return context, inputs, prediction, showPrediction(context, prediction, inputs)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_every_voxel_is_in_its_segment(affine):
    _context, inputs, prediction, nodes = shown(affine)
    assert set(np.unique(prediction.label)) == {0, 1, 2, 3}
    assert np.array_equal(label_seen(nodes.segmentation, inputs["t1c"]), prediction.label)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_segment_lies_where_the_affine_says(affine):
    """By hand: one voxel, whose surface must surround its centre and nothing else."""
    context = a_context()
    label = np.zeros((6, 7, 8), np.uint8)
    label[1, 2, 5] = 3
    segmentation = context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    showClasses(segmentation, Volume(label, affine))
    segmentation.CreateClosedSurfaceRepresentation()
    surface = vtk.vtkPolyData()
    segmentation.GetClosedSurfaceRepresentation("ET", surface)
    assert np.allclose(surface.GetCenter(), (affine @ [1, 2, 5, 1])[:3], atol=0.2)


def test_under_a_transform_the_segments_stay_where_the_tumour_is():
    context = a_context()
    inputs = add_inputs(context.scene)
    prediction = a_prediction()
    segmentation = context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    move(context.scene, segmentation, FLIPPED)
    showPrediction(context, prediction, inputs, segmentation)
    assert np.array_equal(label_seen(segmentation, inputs["t1c"]), prediction.label)


def test_under_transformed_inputs_the_result_lies_in_the_world():
    context = a_context()
    inputs = add_inputs(context.scene)
    for node in inputs.values():
        move(context.scene, node, FLIPPED)
    prediction = a_prediction(FLIPPED @ OBLIQUE)
    nodes = showPrediction(context, prediction, inputs)
    assert np.allclose(worldAffineOf(inputs["t1c"]), prediction.affine)
    assert np.array_equal(label_seen(nodes.segmentation, inputs["t1c"]), prediction.label)


def test_names_colours_and_meaning():
    context, _, _, nodes = shown()
    assert segmentNames(nodes.segmentation) == ("NCR", "ED", "ET")
    for index, name in enumerate(("NCR", "ED", "ET"), start=1):
        segment = nodes.segmentation.GetSegmentation().GetSegment(name)
        assert segment.GetName() == name
        assert np.allclose(np.array(segment.GetColor()) * 255, CLASS_COLOURS[index])
        tag = vtk.reference("")
        assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), tag)
        assert tag == TERMINOLOGY_TAG[name]
        assert segment.GetTag("DICOM.SegmentAlgorithmType", tag)
        assert tag == "AUTOMATIC"
    assert context.terminologies.IsTerminologyContextLoaded(TERMINOLOGY)


@pytest.mark.parametrize("name", TERMINOLOGY_TAG)
def test_our_terminology_knows_every_segment(name):
    """A tag must be an entry of the file we ship, word by word, or Slicer shows "unknown"."""
    terminologies = contextForCore(slicer.vtkMRMLScene()).terminologies
    said, entry = slicer.vtkSlicerTerminologyEntry(), slicer.vtkSlicerTerminologyEntry()
    assert terminologies.DeserializeTerminologyEntry(TERMINOLOGY_TAG[name], said)
    category, type_ = slicer.vtkSlicerTerminologyCategory(), slicer.vtkSlicerTerminologyType()
    for number in range(terminologies.GetNumberOfCategoriesInTerminology(TERMINOLOGY)):
        terminologies.GetNthCategoryInTerminology(TERMINOLOGY, number, category)
        if category.GetCodeValue() == said.GetCategoryObject().GetCodeValue():
            break
    assert category.GetCodeMeaning() == said.GetCategoryObject().GetCodeMeaning()
    types = range(terminologies.GetNumberOfTypesInTerminologyCategory(TERMINOLOGY, category))
    found = set()
    for number in types:
        terminologies.GetNthTypeInTerminologyCategory(TERMINOLOGY, category, number, type_)
        found.add((type_.GetCodeValue(), ""))
        for n in range(terminologies.GetNumberOfTypeModifiersInTerminologyType(TERMINOLOGY, category, type_)):
            modifier = slicer.vtkSlicerTerminologyType()
            terminologies.GetNthTypeModifierInTerminologyType(TERMINOLOGY, category, type_, n, modifier)
            found.add((type_.GetCodeValue(), modifier.GetCodeValue()))
    assert (said.GetTypeObject().GetCodeValue(), said.GetTypeModifierObject().GetCodeValue() or "") in found
    assert entry is not said


def test_other_segments_and_a_renamed_one_stay():
    context, inputs, prediction, nodes = shown()
    inside = nodes.segmentation.GetSegmentation()
    inside.AddEmptySegment("ventricle", "Ventricle")
    inside.GetSegment("ET").SetName("my enhancement")
    inside.GetSegment("ET").SetColor(1, 1, 0)
    nodes.segmentation.GetDisplayNode().SetSegmentVisibility("ED", False)
    updateResult(context, nodes, whatif(prediction, disabled=[1]))
    assert segmentNames(nodes.segmentation) == ("NCR", "ED", "ET", "ventricle")
    assert inside.GetSegment("ET").GetName() == "my enhancement"
    assert inside.GetSegment("ET").GetColor() == (1, 1, 0)
    assert not nodes.segmentation.GetDisplayNode().GetSegmentVisibility("ED")
    assert label_seen(nodes.segmentation, inputs["t1c"]).any()


def surface_points(segmentation, name):
    surface = vtk.vtkPolyData()
    segmentation.GetClosedSurfaceRepresentation(name, surface)
    return surface.GetNumberOfPoints()


def test_surfaces_follow_a_what_if():
    context, inputs, prediction, nodes = shown()
    assert not shown3D(nodes)
    show3D(context, nodes, True)
    assert shown3D(nodes)
    before = surface_points(nodes.segmentation, "ET")
    changed = whatif(prediction, disabled=[3])
    assert not (changed.label == 3).any()
    updateResult(context, nodes, changed)
    assert before > 0
    assert surface_points(nodes.segmentation, "ET") == 0
    assert shown3D(nodes)
    assert np.array_equal(label_seen(nodes.segmentation, inputs["t1c"]), changed.label)
    updateResult(context, nodes, prediction)
    assert surface_points(nodes.segmentation, "ET") == before


def test_hidden_surfaces_follow_too():
    context, _, prediction, nodes = shown()
    show3D(context, nodes, True)
    show3D(context, nodes, False)
    updateResult(context, nodes, whatif(prediction, disabled=[3]))
    show3D(context, nodes, True)
    assert surface_points(nodes.segmentation, "ET") == 0


def test_regions_in_place_of_classes():
    _context, inputs, prediction, nodes = shown()
    showRegions(nodes, prediction)
    assert segmentNames(nodes.regions) == ("WT", "TC", "ET")
    assert nodes.regions.GetDisplayNode().GetVisibility()
    assert not nodes.segmentation.GetDisplayNode().GetVisibility()
    for name, members in REGIONS.items():
        seen = label_seen(nodes.regions, inputs["t1c"], (name,))
        assert np.array_equal(seen > 0, np.isin(prediction.label, members)), name
    assert nodes.regions.GetDisplayNode().GetOpacity2DFill() == 0  # outlines
    hideRegions(nodes)
    assert nodes.segmentation.GetDisplayNode().GetVisibility()
    assert not nodes.regions.GetDisplayNode().GetVisibility()


def test_regions_follow_a_what_if():
    context, inputs, prediction, nodes = shown()
    showRegions(nodes, prediction)
    changed = whatif(prediction, disabled=[2])
    updateResult(context, nodes, changed)
    assert np.array_equal(label_seen(nodes.regions, inputs["t1c"], ("WT",)) > 0, changed.label > 0)
    assert not nodes.segmentation.GetDisplayNode().GetVisibility()


def test_surfaces_of_regions_when_these_are_shown():
    context, _, prediction, nodes = shown()
    showRegions(nodes, prediction)
    show3D(context, nodes, True)
    assert surface_points(nodes.regions, "WT") > 0


def test_no_tumour_gives_three_empty_segments():
    context = a_context()
    inputs = add_inputs(context.scene)
    prediction = whatif(a_prediction(), disabled=[1, 2, 3])
    assert not prediction.label.any()
    nodes = showPrediction(context, prediction, inputs)
    said = []
    output = vtk.vtkOutputWindow.GetInstance()
    tag = output.AddObserver(vtk.vtkCommand.ErrorEvent, lambda *_: said.append("an error"))
    show3D(context, nodes, True)
    output.RemoveObserver(tag)
    assert said == []  # such as "Expecting 3D data"
    assert segmentNames(nodes.segmentation) == ("NCR", "ED", "ET")
    assert not label_seen(nodes.segmentation, inputs["t1c"]).any()
    updateResult(context, nodes, a_prediction())
    assert label_seen(nodes.segmentation, inputs["t1c"]).shape == SHAPE
    assert label_seen(nodes.segmentation, inputs["t1c"]).any()


def test_a_logic_of_another_scene_is_refused():
    context, _, _, nodes = shown()
    other = a_context()
    with pytest.raises(ValueError, match="another scene"):
        show3D(type(context)(**{**vars(context), "segmentations": other.segmentations}), nodes, True)


def test_what_an_earlier_version_called_enhancing_gets_its_standard_code_when_it_is_filled_again():
    context, inputs, prediction, nodes = shown()
    segment = nodes.segmentation.GetSegmentation().GetSegment("ET")
    earlier = (
        "ProtoSegBrain~SCT^49755003^Morphologically Altered Structure~SCT^86049000^Neoplasm, Primary"
        "~99PSB^ET^Enhancing with contrast agent~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
    )
    segment.SetTerminology(earlier)
    showPrediction(context, prediction, inputs, nodes.segmentation)
    assert segment.GetTerminology() == TERMINOLOGY_TAG["ET"]
    assert "NCIt^C113842^Enhancing Lesion" in segment.GetTerminology()
    chosen = TERMINOLOGY_TAG["ED"]
    segment.SetTerminology(chosen)  # by a person
    showPrediction(context, prediction, inputs, nodes.segmentation)
    assert segment.GetTerminology() == chosen


@pytest.mark.parametrize("name", FOUND)
def test_the_codes_are_those_of_the_library(name):
    entry = slicer.vtkSlicerTerminologyEntry()
    assert contextForCore(slicer.vtkMRMLScene()).terminologies.DeserializeTerminologyEntry(TERMINOLOGY_TAG[name], entry)
    modifier = entry.GetTypeModifierObject()
    found = modifier if modifier.GetCodeValue() else entry.GetTypeObject()
    code = FOUND[name]
    assert (found.GetCodeValue(), found.GetCodingSchemeDesignator()) == (code.value, code.scheme)
    assert found.GetCodeMeaning() == code.meaning
    assert entry.GetCategoryObject().GetCodeValue() == CATEGORY.value
    assert entry.GetAnatomicRegionObject().GetCodeValue() == BRAIN.value
