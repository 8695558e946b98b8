"""A case and its result as a scene file and as a picture."""

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for, without_prototypes
from mrml import (
    CLASSES_BY_HAND,
    GRIDS,
    OBLIQUE,
    SHAPE,
    a_context,
    a_prediction,
    label_seen,
    needs_opengl,
    nodes_of,
    read_scene,
)
from PIL import Image
from ProtoSegBrainScene import savedscene
from ProtoSegBrainScene.grid import affineOfMatrix, worldAffineOf
from ProtoSegBrainScene.heatmap import COLOUR_NODE, showPrototype
from ProtoSegBrainScene.inputs import volumeOf
from ProtoSegBrainScene.layout import VIEWS, compositeNodes
from ProtoSegBrainScene.rendering import BRAIN_ROLE, paintSurface, showVolumeRendering
from ProtoSegBrainScene.result import findResult, findResults, inputsOf, updateResult
from ProtoSegBrainScene.savedscene import drawScene, loadCase, writeScene
from ProtoSegBrainScene.segmentation import TERMINOLOGY_TAG, show3D, showRegions
from ProtoSegBrainScene.sight import placeToLook
from ProtoSegBrainScene.stored import restorePrediction
from ProtoSegBrainScene.tables import prototypeRows

from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES


def a_small_case(affine=OBLIQUE, whole_numbers=True):
    images = np.random.default_rng(0).integers(1, 900, (4, *SHAPE)).astype(np.float32)
    images[:, 0] = 0
    return Case("by_hand", images if whole_numbers else images / 7, affine)


def assert_same_place(volume, expected):
    """Slicer turns an axis of left-handed images when it reads them: voxels are compared where they are."""
    assert np.array_equal(resample(volume, expected.shape, expected.affine, order=0).array, expected.array)


@pytest.mark.parametrize("whole_numbers", [True, False])
@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_written_scene_comes_back_whole(tmp_path, affine, whole_numbers):
    case, prediction = a_small_case(affine, whole_numbers), a_prediction(affine)
    path = writeScene(case, prediction, tmp_path / "case.mrb")
    context = read_scene(path, tmp_path / "cache")
    (nodes,) = findResults(context.scene)
    inputs = inputsOf(nodes)
    for index, role in enumerate(MODALITIES):
        assert_same_place(volumeOf(inputs[role]), Volume(case.images[index], case.affine))
    restored = restorePrediction(nodes)
    label = Volume(prediction.label, prediction.affine)
    assert_same_place(Volume(restored.label, restored.affine), label)
    assert_same_place(Volume(label_seen(nodes.segmentation, inputs["t1c"]), worldAffineOf(inputs["t1c"])), label)
    assert np.array_equal(restored.similarities, prediction.similarities)
    assert np.allclose(restored.similarity_affine, prediction.similarity_affine, atol=1e-6)
    assert nodes.segmentation.GetSegmentation().GetSegment("ET").GetTerminology() == TERMINOLOGY_TAG["ET"]


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_any_number_of_prototypes_is_stored_exactly(tmp_path, count):
    """1 and 3 are where formats like to think of grey and of colours or vectors."""
    maps = np.random.default_rng(count).random((count, *(n // 2 for n in SHAPE))).astype(np.float32)
    prediction = prediction_for(maps, evidence_for((CLASSES_BY_HAND * 2)[:count]), OBLIQUE)
    path = writeScene(a_small_case(), prediction, tmp_path / "case.mrb")
    context = read_scene(path, tmp_path / "cache")
    assert np.array_equal(restorePrediction(findResults(context.scene)[0]).similarities, maps)


def test_displays_come_back(tmp_path):
    path = writeScene(a_small_case(), a_prediction(), tmp_path / "case.mrb")
    context = read_scene(path, tmp_path / "cache")
    (nodes,) = findResults(context.scene)
    display = nodes.similarity.GetDisplayNode()
    assert display.GetColorNode().GetName() == COLOUR_NODE
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
    assert not display.GetInterpolate()
    assert not nodes.regions.GetDisplayNode().GetVisibility()
    composites = compositeNodes(context.scene)
    for role, name in VIEWS.items():
        assert composites[name].GetBackgroundVolumeID() == inputsOf(nodes)[role].GetID()
    assert composites["Red"].GetBackgroundVolumeID() == inputsOf(nodes)["t1c"].GetID()


def test_everything_works_on_in_a_reopened_scene(tmp_path):
    prediction = a_prediction()
    path = writeScene(a_small_case(), prediction, tmp_path / "case.mrb")
    context = read_scene(path, tmp_path / "cache")
    (nodes,) = findResults(context.scene)
    restored = restorePrediction(nodes)
    changed = whatif(restored, disabled=[3])
    updateResult(context, nodes, changed)
    assert not (label_seen(nodes.segmentation, inputsOf(nodes)["t1c"]) == 3).any()
    assert np.array_equal(label_seen(nodes.segmentation, inputsOf(nodes)["t1c"]), changed.label)
    show3D(context, nodes, True)
    showRegions(nodes, changed)
    showPrototype(context, nodes, restored, 1, None, compositeNodes(context.scene).values(), 0.1, 0.5)
    showVolumeRendering(context, nodes, True)
    paintSurface(context, nodes, restored, True)
    assert sum(node.GetName() == COLOUR_NODE for node in nodes_of(context.scene)) == 1
    assert findResult(context.scene, nodes.segmentation) == nodes


def test_a_scene_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.mrb"):
        writeScene(a_small_case(), a_prediction(), tmp_path / "case.zip")
    (tmp_path / "case.mrb").mkdir()  # nothing can be put in its place
    with pytest.raises(OSError, match="case"):
        writeScene(a_small_case(), a_prediction(), tmp_path / "case.mrb")
    assert [path.name for path in tmp_path.iterdir()] == ["case.mrb"]


def test_a_case_in_a_scene_of_ones_own():
    context = a_context()
    loaded = loadCase(context, a_small_case(), a_prediction())
    names = [node.GetName() for node in loaded.inputs.values()]
    assert names == ["by_hand T1", "by_hand T1ce", "by_hand T2", "by_hand FLAIR"]
    assert inputsOf(loaded.nodes) == loaded.inputs


@needs_opengl
def test_the_picture_shows_the_case(tmp_path, monkeypatch):
    monkeypatch.setattr(savedscene, "PANEL", 96)
    path = drawScene(a_small_case(), a_prediction(), tmp_path / "case.png")
    pixels = np.asarray(Image.open(path)).astype(int)
    assert pixels.shape == (2 * (96 + savedscene.CAPTION) + savedscene.CAPTION, 3 * 96, 3)
    first = pixels[savedscene.CAPTION : savedscene.CAPTION + 96, :96]
    assert (first.max(axis=2) > 40).mean() > 0.1  # the brain
    for colour in ((80, 172, 96), (64, 116, 222)):  # the outlines of oedema and enhancing tumour
        assert (np.abs(first - colour).max(axis=2) < 60).any()
    assert [file.name for file in tmp_path.iterdir()] == ["case.png"]


def test_without_opengl_there_is_a_plain_sentence_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(savedscene, "canRender", lambda: False)
    with pytest.raises(OSError, match="apt-get install libegl1"):
        drawScene(a_small_case(), a_prediction(), tmp_path / "case.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_scene_without_prototypes_comes_back_whole(tmp_path, affine):
    mute = without_prototypes(a_prediction(affine))
    path = writeScene(a_small_case(affine), mute, tmp_path / "case.mrb")
    context = read_scene(path, tmp_path / "cache")
    (nodes,) = findResults(context.scene)
    restored = restorePrediction(nodes)
    assert_same_place(Volume(restored.label, restored.affine), Volume(mute.label, mute.affine))
    for found, expected in zip(restored.probabilities, mute.probabilities, strict=True):
        back = resample(Volume(found, restored.affine), mute.label.shape, mute.affine, order=0).array
        assert np.allclose(back, expected, atol=1e-6)


@needs_opengl
def test_a_picture_without_prototypes_has_as_many_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(savedscene, "PANEL", 96)
    captions, composed = [], savedscene.composed

    def note(panels, *others):
        captions.extend(panels)
        return composed(panels, *others)

    monkeypatch.setattr(savedscene, "composed", note)
    drawScene(a_small_case(), without_prototypes(a_prediction()), tmp_path / "case.png")
    assert captions[3:] == ["Axial FLAIR", "Uncertainty", "3D: NCR red, ED green, ET blue"]


def test_a_written_scene_opens_as_after_segmenting(tmp_path):
    """Titles, colours, images, slices at the tumour, 3D, result and prototype are chosen."""
    prediction = a_prediction()
    context = read_scene(writeScene(a_small_case(), prediction, tmp_path / "case.mrb"), tmp_path / "cache")
    scene = context.scene
    (nodes,) = findResults(scene)
    for role, name in VIEWS.items():
        view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        assert view.GetLayoutLabel() == MODALITY_NAMES[role]
        assert np.ptp(view.GetLayoutColor()) > 0.2  # not grey
    for name in (*VIEWS.values(), "Red", "Green", "Yellow"):
        matrix = affineOfMatrix(scene.GetSingletonNode(name, "vtkMRMLSliceNode").GetSliceToRAS())
        place = placeToLook(prediction, matrix[:3, 2])
        assert np.isclose(matrix[:3, 2] @ (place - matrix[:3, 3]), 0, atol=1e-3), name
    camera = scene.GetSingletonNode("1", "vtkMRMLCameraNode")
    assert np.linalg.norm(np.array(camera.GetFocalPoint()) - placeToLook(prediction)) < 15
    assert nodes.segmentation.GetDisplayNode().GetVisibility3D()
    assert nodes.segmentation.GetNodeReference(BRAIN_ROLE).GetPolyData().GetNumberOfPoints() > 0
    legend = context.colors.GetColorLegendDisplayNode(nodes.segmentation)
    assert legend.GetVisibility()
    chosen = scene.GetSingletonNode("ProtoSegBrain", "vtkMRMLScriptedModuleNode")
    assert chosen.GetNodeReference("segmentation") is nodes.segmentation
    assert chosen.GetNodeReference("inputT1ce") is inputsOf(nodes)["t1c"]
    assert int(chosen.GetParameter("prototype")) == prototypeRows(prediction)[0].index
