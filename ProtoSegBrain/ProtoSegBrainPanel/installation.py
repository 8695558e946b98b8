"""Packages that are missing: which they are, how large, and installing them."""

import importlib.metadata
from pathlib import Path

import slicer

TORCH = "torch>=2.4"
REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
SIZES = "PyTorch: about 0.8 GB on disk for the processor, 5 GB with CUDA. The other packages: about 0.2 GB."
OFFLINE = (
    "Without a network: on a computer of the same system with a network, run\n"
    '  PythonSlicer -m pip download --dest wheels "torch>=2.4" -r requirements.txt\n'
    "copy the folder wheels and the requirements.txt of this module, and run here\n"
    '  PythonSlicer -m pip install --no-index --find-links wheels "torch>=2.4" -r requirements.txt'
)


class InstallationSection:
    """Checks what is there, and installs what is not after asking."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._isAsked = False
        ui.checkInstallationButton.clicked.connect(panel.guarded(self.check))
        ui.installButton.clicked.connect(panel.guarded(self.install))

    def check(self):
        """Say what is missing; else ask the worker what there is to compute with."""
        missing = self.missing()
        if missing:
            self._say(f"Missing: {', '.join(missing)}.\n{SIZES}")
            return
        self._say("Asking the worker: it loads PyTorch first.")
        self.panel.requests.check(self, self.panel.parameters.modelPath or None)
        self.panel.listen()

    def lookForDevices(self):
        """Ask once what there is to compute with, which also lets the worker load PyTorch before it is needed."""
        if not self._isAsked and not slicer.app.testingEnabled() and not self.missing():
            self._isAsked = True
            self.check()

    def progress(self, _fraction, _message):
        """A check has no stages worth telling."""

    def done(self, answer, _inputs):
        """What the worker found."""
        self._say(environmentText(answer.values))
        self.panel.run.showDevices(answer.values)

    def failed(self, message, details):
        """The worker could not say it."""
        self._say(f"{message}\n{details}")

    def missing(self):
        """Requirements that are not met."""
        return missingPackages()

    def install(self):
        """Ask, then install what is missing; whether all is there in the end."""
        missing = self.missing()
        if not missing:
            self._say("All packages are there.")
            return True
        question = f"ProtoSegBrain needs {', '.join(missing)}.\n\n{SIZES}\n\nDownload and install them now?"
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle="ProtoSegBrain"):
            return False
        self.panel.logic.close()  # a worker holds the old packages
        try:
            if TORCH in missing:
                installTorch()
            installRequirements([name for name in missing if name != TORCH])
        except Exception as error:
            self._say(f"Not installed: {error}\n\n{OFFLINE}")
            raise RuntimeError(f"The packages could not be installed: {error}\n\n{OFFLINE}") from error
        still = self.missing()
        self._say(f"Still missing: {', '.join(still)}.\n\n{OFFLINE}" if still else "All packages are there.")
        return not still

    def refresh(self):
        """Nothing of the scene is shown here."""
        isFree = not self.panel.requests.isWaiting
        for button in (self.ui.checkInstallationButton, self.ui.installButton):
            button.enabled = isFree

    def _say(self, text):
        self.ui.installationTextEdit.plainText = text


def missingPackages():
    """Requirements of a segmentation that are not met, as pip takes them; nothing is imported."""
    lines = [line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    wanted = [TORCH, *(line for line in lines if line and not line.startswith("#"))]
    return [requirement for requirement in wanted if not _isMet(requirement)]


def installTorch():
    """PyTorch, through the extension that knows which build fits this computer."""
    try:
        import PyTorchUtils
    except ImportError as error:
        raise RuntimeError(
            "The extension PyTorch is not installed. Install it with the Extensions Manager, restart Slicer, try again."
        ) from error
    version = TORCH.removeprefix("torch")
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=version) is None:
        raise RuntimeError("PyTorch was not installed.")


def installRequirements(wanted):
    """The other packages; the person was asked before."""
    if not wanted:
        return
    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # Slicer 5.10
        slicer.util.pip_install(wanted)
    else:
        pip_ensure(wanted, requester="ProtoSegBrain", prompt_install=False)


def environmentText(values):
    """What the worker found, for reading and for reports of bugs."""
    torch, model = values["torch"], values["model"]
    lines = [*values["problems"]]
    if torch:
        lines.append(f"PyTorch {torch['version']}, build {torch['build']}, {torch['threads']} threads")
    for device in values["devices"]:
        lines.append(f"{device['name']}: {device['description']}, {_memory(device)}")
    if model:
        lines.append(f"Model {model['name']}, SHA-256 {model['identity']}\n  {model['path']}")
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in values["packages"].items())
    return "\n".join([*lines, f"Python {values['python']} on {values['platform']}", packages])


def _memory(device):
    known = [f"{device[key]:g} GB{text}" for key, text in (("memory_gb", ""), ("free_gb", " free")) if device[key]]
    return ", ".join(known) or "memory unknown"


def _isMet(requirement):
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        return wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False
