"""The module as Slicer sees it, its logic as scripts see it, and the real worker behind the panel."""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from open_panel import OpenPanel, a_prediction, add_inputs
from slicer_stand_ins import MODULE, FileDialog, QtWidgets, qMRMLWidget, running_slicer, slicer

from ProtoSegBrainLib.labels import MODALITIES


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module with the real worker, in the Python of the tests."""
    with running_slicer(monkeypatch) as module:
        command = [sys.executable, "-m", "ProtoSegBrainLib", "worker"]
        monkeypatch.setattr(module.ProtoSegBrainLogic, "workerCommand", lambda _self: command)
        yield module


def test_only_one_python_file_lies_in_the_folder():
    assert [path.name for path in MODULE.glob("*.py")] == ["ProtoSegBrain.py"]


def test_the_module_says_what_it_is(module):
    parent = types.SimpleNamespace(path=str(MODULE / "ProtoSegBrain.py"))
    module.ProtoSegBrain(parent)
    assert parent.title == "ProtoSegBrain"
    assert parent.categories == ["Segmentation"]
    assert "research use only" in parent.helpText
    assert "Menze" in parent.acknowledgementText


def test_cases_are_in_the_sample_data_module(module, monkeypatch, tmp_path, a_case):
    from ProtoSegBrainLib.simulation.simulate import write_case

    offered: dict[str, dict[str, Any]] = {}
    sample_data = types.ModuleType("SampleData")

    taken = {"category", "sampleName", "uris", "fileNames", "nodeNames", "customDownloader", "thumbnailFileName"}

    def register(**source):
        assert set(source) <= taken  # by Slicer 5.10 as well as 5.12
        assert all(isinstance(source[name], str) for name in taken - {"customDownloader"})
        offered[source["sampleName"]] = source

    sample_data.SampleDataLogic = types.SimpleNamespace(  # type: ignore[attr-defined]
        registerCustomSampleDataSource=register
    )
    monkeypatch.setitem(sys.modules, "SampleData", sample_data)
    parent = types.SimpleNamespace(path=str(MODULE / "ProtoSegBrain.py"))
    module.ProtoSegBrain(parent).registerSampleData()
    assert set(offered) == {"Simulated case", "Case from a folder"}
    monkeypatch.setattr("ProtoSegBrainLib.simulation.simulate.simulate_case", lambda _seed: a_case)
    nodes = offered["Simulated case"]["customDownloader"](None)
    assert [node.GetName().split()[-1] for node in nodes] == ["T1", "T1ce", "T2", "FLAIR"]
    FileDialog.answers.append(str(write_case(a_case, tmp_path)))
    assert len(offered["Case from a folder"]["customDownloader"](None)) == 4
    assert offered["Case from a folder"]["customDownloader"](None) == []


def test_a_reload_leaves_nothing_of_the_old_code(panel, monkeypatch):
    reloaded = []
    monkeypatch.setattr(slicer.util, "reloadScriptedModule", reloaded.append)
    panel.widget.onReload()
    assert reloaded == ["ProtoSegBrain"]
    assert [name for name in sys.modules if name.startswith(("ProtoSegBrainPanel", "ProtoSegBrainScene"))] == []


def test_a_reload_while_the_module_is_open_enters_the_new_one(panel, monkeypatch):
    entered = []
    new = types.SimpleNamespace(panel=types.SimpleNamespace(isEntered=False), enter=lambda: entered.append(True))

    def reload(_name):  # as slicer.util.reloadScriptedModule ends
        panel.widget.cleanup()
        slicer.modules.ProtoSegBrainWidget = new

    monkeypatch.setattr(slicer.util, "reloadScriptedModule", reload)
    panel.widget.onReload()
    assert entered == [True]
    panel.widget.onReload()  # not open any more
    assert entered == [True]


def test_pythonslicer_that_is_not_there_is_told(panel):
    with pytest.raises(FileNotFoundError, match="PythonSlicer"):
        panel.module.ProtoSegBrainLogic().worker.check()


def test_the_worker_finds_the_library(panel):
    panel.logic._worker = None
    panel.logic.workerCommand = lambda: ["worker"]
    environment = panel.logic.worker._environment
    assert str(MODULE.parent) in environment["PYTHONPATH"].split(os.pathsep)


def test_results_of_a_script(panel):
    inputs = add_inputs()
    logic = panel.logic
    nodes = logic.results.show(a_prediction(), inputs)
    logic.showPrototype(nodes, 3, background=inputs["t1c"], threshold=0.2)
    assert nodes.similarity.GetAttribute("ProtoSegBrain.prototype") == "3"
    own = logic.results.of(nodes.segmentation).original
    assert logic.whatIf(nodes, [2]).volumes_ml["ED"] < own.volumes_ml["ED"]
    assert logic.whatIf(nodes, []) is own
    with pytest.raises(ValueError, match="Expected numbers of prototypes"):
        logic.whatIf(nodes, [99])
    assert logic.results.of(nodes.segmentation).current is own


def test_a_script_segments_with_the_real_worker(module, a_case):
    from ProtoSegBrainScene.case import addCase

    logic = module.ProtoSegBrainLogic()
    inputs = addCase(slicer.mrmlScene, a_case)
    said: list[tuple[float, str]] = []
    before = slicer.mrmlScene.GetNumberOfNodes()
    try:
        with pytest.raises(ValueError, match="chosen for"):
            logic.process(inputs["t1n"], inputs["t1n"], inputs["t1c"], inputs["t2w"])
        with pytest.raises(ValueError, match="not found"):
            logic.process(*(inputs[role] for role in ("t2f", "t1n", "t1c", "t2w")), modelPath="/no/such.safetensors")
        assert slicer.mrmlScene.GetNumberOfNodes() == before
        nodes = logic.process(
            *(inputs[role] for role in ("t2f", "t1n", "t1c", "t2w")),
            device="cpu",
            onProgress=lambda fraction, message: said.append((fraction, message)),
        )
        assert logic.checkInstallation()["model"]["name"].startswith("protosegbrain")
    finally:
        logic.close()
    assert said[0][0] < 0.1 < 0.9 < said[-1][0]
    assert nodes.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert logic.results.of(nodes.segmentation).original.case_id == a_case.case_id


def test_a_worker_that_is_killed_is_told_and_the_next_run_has_another(module, a_case, monkeypatch):
    from ProtoSegBrainScene.case import addCase

    monkeypatch.setattr("ProtoSegBrainPanel.installation.missingPackages", list)
    window = qMRMLWidget()
    QtWidgets.QVBoxLayout(window)
    widget = module.ProtoSegBrainWidget(window)
    widget.setup()
    panel = OpenPanel(module, widget, window, None)  # type: ignore[arg-type]
    panel.window.show()
    panel.inputs.choose(addCase(slicer.mrmlScene, a_case))
    before = panel.nodes()
    try:
        panel.click("segmentButton")
        os.kill(widget.logic.worker._process._popen.pid, signal.SIGKILL)
        panel.wait(lambda: not widget.panel.requests.isSegmenting)
        assert "killed" in panel.text("messageLabel")
        assert panel.ui.copyDetailsButton.isVisible()
        assert panel.nodes() == before
        panel.click("segmentButton")
        panel.wait(lambda: not widget.panel.requests.isSegmenting)
        assert panel.result is not None
        assert "Done in" in panel.text("stageLabel")
    finally:
        widget.cleanup()
        window.close()


def test_a_real_case_from_a_folder(panel, real_data, tmp_path):
    from ProtoSegBrainLib.images.case import read_case
    from ProtoSegBrainLib.images.folders import list_cases

    folder = list_cases(_first_data_set(real_data))[0].place
    FileDialog.answers.append(str(folder))
    panel.click("loadFolderButton")
    case = read_case(folder, with_label=False)
    assert panel.ui.segmentButton.isEnabled(), panel.text("agreementLabel")
    panel.click("segmentButton")
    sent = panel.worker.asked[-1]["volumes"]
    for role, image in zip(MODALITIES, case.images, strict=True):
        if not case.originals:
            np.testing.assert_array_equal(sent[role].array, image)
            np.testing.assert_allclose(sent[role].affine, case.affine)


def _first_data_set(folder: Path) -> Path:
    """The first folder below that holds cases."""
    from ProtoSegBrainLib.images.folders import list_cases

    for candidate in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
        try:
            list_cases(candidate)
        except (FileNotFoundError, ValueError):
            continue
        return candidate
    pytest.skip(f"no case in {folder}")
