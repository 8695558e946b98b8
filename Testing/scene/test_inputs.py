"""Which volume is which, do the four agree in space, what the library gets of them."""

import time
from pathlib import Path

import numpy as np
import pytest
from mrml import FLIPPED, GRIDS, OBLIQUE, SHAPE, a_context, a_prediction, add_inputs, bend, hierarchy_of, move
from ProtoSegBrainScene.grid import addVolume
from ProtoSegBrainScene.inputs import describeAgreement, describePlan, proposeInputs, roleOfVolume, volumeOf
from ProtoSegBrainScene.result import showPrediction

from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.preparation.look import Look

NAMES = {
    "BraTS2021_00002_flair": "t2f",
    "BraTS-GLI-00002-000-t1c": "t1c",
    "3: T2 FLAIR": "t2f",
    "FLAIR T2 axial": "t2f",
    "AX T1 FLAIR": "t1n",
    "AX T1 FLAIR POST": "t1c",
    "T2FLAIRax": "t2f",
    "AX T1 POST GD": "t1c",
    "T1 +C": "t1c",
    "T1 w/o contrast": "t1n",
    "sag T1 FSPGR": "t1n",
    "patient_t1gd": "t1c",
    "x_t1n": "t1n",
    "t2_tse_tra": "t2w",
    "DWI b1000": None,
    "x_seg": None,
    "fact1": None,
    "": None,
}


@pytest.mark.parametrize(("name", "role"), NAMES.items(), ids=NAMES)
def test_the_role_follows_from_the_name(name, role):
    assert roleOfVolume(name) == role


def test_the_dicom_description_helps_where_the_name_says_nothing():
    node = a_context().scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Series 4")
    assert roleOfVolume(node) is None
    node.SetAttribute("DICOM.SeriesDescription", "AX T2 FLAIR")
    assert roleOfVolume(node) == "t2f"


def test_the_four_of_one_study_are_proposed_not_a_mixture():
    context = a_context()
    hierarchy = hierarchy_of(context.scene)
    whole, half = add_inputs(context.scene), add_inputs(context.scene)
    for inputs, study in ((whole, "whole"), (half, "half")):
        item = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), study)
        for node in inputs.values():
            hierarchy.SetItemParent(hierarchy.CreateItem(item, node), item)
    context.scene.RemoveNode(half["t2f"])
    assert proposeInputs(context.scene) == whole


def test_of_two_volumes_for_a_modality_the_more_alike_name_is_proposed():
    context = a_context()
    names = ("anna_flair", "anna_t1", "anna_t2", "anna_t1ce", "bert_t1ce")
    nodes = {
        name: addVolume(context.scene, "vtkMRMLScalarVolumeNode", name, Volume(np.ones(SHAPE), OBLIQUE))
        for name in names
    }
    assert proposeInputs(context.scene)["t1c"] is nodes["anna_t1ce"]


def test_neither_results_nor_label_maps_are_proposed():
    context = a_context()
    assert proposeInputs(context.scene) == {}
    inputs = add_inputs(context.scene)
    showPrediction(context, a_prediction(), inputs)
    addVolume(context.scene, "vtkMRMLLabelMapVolumeNode", "case T1 tissue", Volume(np.ones(SHAPE, np.uint8), OBLIQUE))
    assert proposeInputs(context.scene) == inputs


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_the_library_gets_the_voxels_where_they_are_in_the_world(affine):
    context = a_context()
    node = add_inputs(context.scene, affine)["t1c"]
    move(context.scene, node, FLIPPED)
    volume = volumeOf(node)
    assert volume.array[1, 2, 3] == node.GetImageData().GetScalarComponentAsFloat(1, 2, 3, 0)
    assert np.allclose(volume.affine, FLIPPED @ affine)


def test_what_is_no_image_is_refused():
    scene = a_context().scene
    hollow = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    colours = addVolume(scene, "vtkMRMLVectorVolumeNode", "colours", Volume(np.ones((2, 2, 2, 3)), OBLIQUE))
    labels = addVolume(scene, "vtkMRMLLabelMapVolumeNode", "labels", Volume(np.ones((2, 2, 2), np.uint8), OBLIQUE))
    segments = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
    for node, words in (
        (hollow, "no voxels"),
        (colours, "3 values"),
        (labels, "label map"),
        (segments, "not a volume"),
    ):
        with pytest.raises(ValueError, match=words):
            volumeOf(node)


def agreement(change=None, affine=OBLIQUE):
    context = a_context()
    inputs = add_inputs(context.scene, affine)
    if change:
        change(context.scene, inputs)
    return describeAgreement(inputs)


def replace(role, shape, affine):
    def change(scene, inputs):
        inputs[role] = addVolume(scene, "vtkMRMLScalarVolumeNode", role, Volume(np.ones(shape), affine))

    return change


def test_one_grid():
    said = agreement(affine=FLIPPED)
    assert said.canRun
    assert said.sentence == "All four are on one grid: 10 × 12 × 14 voxels of 1 × 2 × 3 mm."


def test_another_spacing_will_be_resampled():
    coarse = FLIPPED @ np.diag([2.0, 1, 1, 1])
    said = agreement(replace("t2w", (5, 12, 14), coarse), FLIPPED)
    assert said.canRun
    assert said.sentence.startswith("T2 will be resampled to the grid of T1ce, 10 × 12 × 14 voxels of 1 × 2 × 3 mm")


def test_another_order_of_axes_will_be_copied():
    turned = FLIPPED @ np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    said = agreement(replace("t1n", (12, 10, 14), turned), FLIPPED)
    assert said.canRun
    assert said.sentence.startswith("T1 will be copied, voxel by voxel")


def test_disjoint_spaces_cannot_run():
    far = FLIPPED.copy()
    far[0, 3] += 500
    said = agreement(replace("t2f", SHAPE, far), FLIPPED)
    assert not said.canRun
    assert "FLAIR (t2f) and T1ce (case T1ce) lie in different spaces" in said.sentence


def test_a_transform_counts():
    shift = np.eye(4)
    shift[0, 3] = 500
    assert not agreement(lambda scene, inputs: move(scene, inputs["t2f"], shift)).canRun
    bent = agreement(lambda scene, inputs: bend(scene, inputs["t2f"]))
    assert not bent.canRun
    assert "not linear" in bent.sentence


def test_missing_doubled_and_wrong_volumes_cannot_run():
    missing = agreement(lambda _, inputs: inputs.update(t1n=None, t2f=None))
    assert (missing.sentence, missing.canRun) == ("Choose a volume for T1 and FLAIR.", False)
    twice = agreement(lambda _, inputs: inputs.update(t1c=inputs["t1n"]))
    assert (twice.sentence, twice.canRun) == (
        "case T1 is chosen for T1 and for T1ce; choose four different volumes.",
        False,
    )
    wrong = agreement(lambda scene, inputs: inputs.update(t2w=scene.AddNewNodeByClass("vtkMRMLModelNode", "bone")))
    assert (wrong.sentence, wrong.canRun) == ("T2: bone is not a volume; choose an image.", False)


def test_large_volumes_take_no_time():
    context = a_context()
    large = np.zeros((256, 256, 180), np.uint8)
    inputs = {
        role: addVolume(context.scene, "vtkMRMLScalarVolumeNode", role, Volume(large, matrix))
        for role, matrix in zip(MODALITIES, (OBLIQUE, FLIPPED, OBLIQUE, FLIPPED), strict=True)
    }
    start = time.perf_counter()
    describeAgreement(inputs)
    assert time.perf_counter() - start < 0.5  # it takes 5 ms; reading the voxels would take seconds on a busy machine


def test_the_names_of_real_files_give_their_roles(real_data):
    case = read_case(list_cases(real_data / "brats")[0], with_label=False)
    assert {role: roleOfVolume(Path(path).name.split(".")[0]) for role, path in case.files.items()} == {
        role: role for role in MODALITIES
    }


READY, RAW, APART = Look((), False), Look(MODALITIES, True), Look((), True)


@pytest.mark.parametrize(
    ("look", "prepare", "has_mask", "words"),
    [
        (READY, "auto", False, "Skull-stripped, aligned: taken as it is. All four are on one grid"),
        (RAW, "auto", False, "With skull, not aligned: will be aligned to T1ce, and the brain found. The result lies"),
        (RAW, "auto", True, "With skull, not aligned: will be aligned to T1ce, and cut to the brain mask."),
        (APART, "auto", False, "will be aligned to T1ce, and cut to the brain that T1ce shows."),
        (READY, "auto", True, "Skull-stripped, aligned: will be cut to the brain mask."),
        (READY, "all", False, "Skull-stripped, aligned: will be aligned to T1ce, and the brain found."),
        (READY, "none", False, "All four are on one grid: 10 × 12 × 14 voxels of 1 × 2 × 3 mm."),
        (RAW, "none", False, "With skull, not aligned: the network knows no such images"),
    ],
)
def test_what_will_be_done(look, prepare, has_mask, words):
    context = a_context()
    assert words in describePlan(add_inputs(context.scene, FLIPPED), look, prepare, has_mask)
