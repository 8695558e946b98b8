"""Four volumes chosen: by name, by hand, from a folder."""

from __future__ import annotations

from open_panel import add_inputs, open_panel
from slicer_stand_ins import FileDialog, slicer, vtk

from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES


def test_inputs_are_chosen_by_their_names_when_the_module_is_opened(monkeypatch):
    with open_panel(monkeypatch, entered=False) as panel:
        nodes = add_inputs()
        panel.widget.enter()
        assert panel.inputs.nodes() == nodes
        assert "on one grid" in panel.text("agreementLabel")
        assert panel.ui.segmentButton.isEnabled()


def test_volumes_that_are_loaded_meanwhile_are_chosen(panel):
    nodes = add_inputs()
    panel.wait(lambda: panel.inputs.nodes() == nodes)
    assert panel.ui.segmentButton.isEnabled()


def test_inputs_that_were_chosen_are_not_replaced(panel):
    nodes = add_inputs()
    panel.ui.inputFlairSelector.setCurrentNode(nodes["t2w"])
    panel.inputs.fillEmpty()
    assert panel.inputs.nodes() == {"t2f": nodes["t2w"], "t1n": None, "t1c": None, "t2w": None}
    panel.click("fillInputsButton")
    assert panel.inputs.nodes() == nodes


def test_names_that_tell_nothing_are_told(panel):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "something")
    panel.click("fillInputsButton")
    assert "No volume of the scene has a name" in panel.text("messageLabel")


def test_one_volume_for_two_modalities_cannot_be_segmented(panel):
    nodes = add_inputs()
    panel.inputs.choose({**nodes, "t2f": nodes["t1n"]})
    assert "chosen for" in panel.text("agreementLabel")
    assert not panel.ui.segmentButton.isEnabled()


def test_a_transform_on_an_input_is_seen(panel):
    nodes = add_inputs()
    panel.inputs.choose(nodes)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 3000.0)
    transform.SetMatrixTransformToParent(matrix)
    nodes["t2f"].SetAndObserveTransformNodeID(transform.GetID())
    panel.widget.panel.refresh()
    assert "different spaces" in panel.text("agreementLabel")
    assert not panel.ui.segmentButton.isEnabled()


def test_a_folder_is_loaded_and_its_modalities_assigned(panel, tmp_path, a_case):
    from ProtoSegBrainLib.simulation.simulate import write_case

    FileDialog.answers.append(str(write_case(a_case, tmp_path)))
    panel.click("loadFolderButton")
    names = [node.GetName() for node in panel.inputs.nodes().values()]
    assert names == [f"{a_case.case_id} {name}" for name in ("FLAIR", "T1", "T1ce", "T2")]
    assert panel.ui.segmentButton.isEnabled()


def test_a_folder_without_a_case_adds_nothing(panel, tmp_path):
    before = panel.nodes()
    FileDialog.answers.append(str(tmp_path))
    panel.click("loadFolderButton")
    assert "no case found" in panel.text("messageLabel")
    assert panel.nodes() == before


def test_what_the_images_show_is_said_when_the_window_is_idle(panel):
    panel.inputs.choose(add_inputs())
    assert "on one grid" in panel.text("agreementLabel")
    panel.rest()
    assert "will be" in panel.text("agreementLabel")
    panel.ui.prepareComboBox.setCurrentText("As it is")
    assert "let them be prepared" in panel.text("agreementLabel")
    assert panel.ui.segmentButton.isEnabled()


def test_how_images_are_prepared_is_passed_on(panel):
    panel.inputs.choose(add_inputs())
    panel.ui.prepareComboBox.setCurrentText("All")
    panel.click("segmentButton")
    assert panel.worker.asked[-1]["prepare"] == "all"
    assert set(panel.worker.asked[-1]["volumes"]) == set(MODALITIES)


def test_a_mask_of_images_that_are_taken_as_they_are_is_one_sentence(panel):
    panel.inputs.choose(add_inputs())
    panel.parameters.brainMask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    panel.ui.prepareComboBox.setCurrentText("As it is")
    panel.click("segmentButton")
    assert "A brain mask was chosen" in panel.text("messageLabel")
    assert panel.worker.asked == []


def test_a_folder_of_dicom_is_loaded_as_it_was_scanned(panel, tmp_path):
    from dicom_study import AXES, HEADERS, same_place, small_volume
    from ProtoSegBrainScene.inputs import volumeOf

    from ProtoSegBrainLib.simulation.dicom_series import write_series

    written = {}
    for n, (role, plane) in enumerate(zip(HEADERS, AXES, strict=True)):
        written[role] = small_volume(n, plane, (4.0, 3.5, 5.0), (24, 20, 16))
        write_series(tmp_path, written[role], HEADERS[role])
    FileDialog.answers.append(str(tmp_path))
    panel.click("loadFolderButton")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    studies = set()
    for role, node in panel.inputs.nodes().items():
        assert node.GetName().endswith(f" {MODALITY_NAMES[role]}")
        assert node.GetAttribute("DICOM.SeriesDescription") == HEADERS[role].description
        assert len(node.GetAttribute("DICOM.instanceUIDs").split()) == written[role].shape[2]
        assert same_place(volumeOf(node), written[role])
        studies.add(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)))
    assert len(studies) == 1
