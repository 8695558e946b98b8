"""Device, model, Segment and Cancel, progress, log."""

import json
import sys
import time
from pathlib import Path

import qt
import slicer

from ProtoSegBrainPanel.parameternode import PREPARE

DEVICES = {"Automatic": "auto", "GPU": "mps" if sys.platform == "darwin" else "cuda", "CPU": "cpu"}
"""What the library calls what the panel shows."""


class SingleClicks(qt.QObject):
    """Makes a double click one click: the second of a button that starts would cancel."""

    def eventFilter(self, _watched, event):
        """Whether an event goes no further."""
        return event.type() == qt.QEvent.MouseButtonDblClick


class RunSection:
    """One button that starts a segmentation and cancels it, and what is to be seen meanwhile."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._started = None
        self._card = None
        self._stages = []
        self._shown = None
        self._singleClicks = SingleClicks()
        ui.segmentButton.installEventFilter(self._singleClicks)
        ui.segmentButton.clicked.connect(panel.guarded(self.segmentOrCancel))
        ui.chooseModelButton.clicked.connect(panel.guarded(self.chooseModel))
        for widget in (ui.progressBar, ui.deviceFoundLabel):
            widget.visible = False

    def segmentOrCancel(self):
        """Start with what is chosen, or end what runs and leave the scene as it was."""
        if self.panel.requests.isSegmenting:
            self.cancel("Cancelled; the scene is as it was.")
        elif self.panel.isInstalled():
            self.start()

    def start(self):
        """Send the chosen volumes to the worker."""
        parameters = self.panel.parameters
        self.panel.message.close()
        self._started = time.monotonic()
        self._stages = []
        self.ui.progressBar.value = 0
        self._say("Sending the images")
        with slicer.util.WaitCursor():
            self.panel.requests.segment(
                self.panel.inputs.nodes(),
                self,
                device=DEVICES[parameters.device],
                modelPath=parameters.modelPath or None,
                testTimeAugmentation=parameters.testTimeAugmentation,
                prepare=PREPARE[parameters.prepare],
                brainMask=parameters.brainMask,
            )
        self.panel.listen()

    def cancel(self, reason):
        """End what runs."""
        self.panel.requests.cancel()
        self._say(reason)
        self.panel.refresh()

    def forget(self):
        """Another patient is shown: say no more how the last run ended."""
        if not self.panel.requests.isSegmenting:
            self.ui.stageLabel.text = ""

    def progress(self, fraction, message):
        """News from the worker."""
        self.ui.progressBar.value = round(100 * fraction)
        self._say(message)

    def done(self, answer, asked):
        """The worker has a result: show it."""
        try:
            self.panel.finish(answer.prediction, asked)
        except Exception:
            self._say("The result could not be shown; the scene is as it was.")
            raise
        self._say(f"Done in {time.monotonic() - self._started:.1f} s on {answer.prediction.device}.")

    def failed(self, message, details):
        """The worker has none."""
        self._say("Not segmented; the scene is as it was.")
        self.panel.message.show(message, details, self.panel.installation.remedyOf(details))

    def chooseModel(self):
        """Ask for another model."""
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), "Model", "", "Model of ProtoSegBrain (*.safetensors)"
        )
        if path:
            self.panel.parameters.modelPath = path

    def showDevices(self, values):
        """Say what the worker found to compute on."""
        found = [_describe(device) for device in values["devices"]]
        self.ui.deviceFoundLabel.text = f"Found: {'; '.join(found)}." if found else "PyTorch cannot be loaded."
        self.ui.deviceFoundLabel.visible = True

    def tick(self):
        """Elapsed time and log, several times a second while something runs."""
        isRunning = self.panel.requests.isSegmenting
        self.ui.elapsedLabel.text = f"{time.monotonic() - self._started:.0f} s" if isRunning else ""
        if self.log != self._shown:
            self._shown = self.log
            self.ui.logTextEdit.plainText = "\n".join(self._shown)

    @property
    def log(self):
        """Stages of the last run with their times, and what the worker wrote."""
        return [*self._stages, *self.panel.logic.log]

    def refresh(self):
        """Button and model card; what cannot be changed during a run is disabled."""
        isRunning = self.panel.requests.isSegmenting
        self.ui.segmentButton.text = "&Cancel" if isRunning else "&Segment"
        self.ui.segmentButton.enabled = isRunning or self.panel.inputs.canRun
        self.ui.progressBar.visible = isRunning
        for widget in (
            self.ui.deviceComboBox,
            self.ui.modelPathLineEdit,
            self.ui.chooseModelButton,
            self.ui.testTimeAugmentationCheckBox,
        ):
            widget.enabled = not isRunning
        path = self.panel.parameters.modelPath
        if path != self._card:
            self._card = path
            said = modelCardText(path or self.panel.logic.bundledModel)
            self.ui.modelCardLabel.text = said.partition("\n")[0]
            self.ui.modelCardLabel.toolTip = said
        self.tick()

    def _say(self, stage):
        if stage != self.ui.stageLabel.text or not self._stages:
            self._stages.append(f"{time.monotonic() - self._started:6.1f} s  {stage}")
        self.ui.stageLabel.text = stage


def modelCardText(path):
    """What the card of a model says, the first line enough at a glance; where it cannot be read, what is wrong."""
    card = Path(path).with_suffix(".json")
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
        cases = max((region["n"] for region in content["calibration"]["reliability"]), default=0)
        measured = f"calibrated on {cases} held-out cases" if cases else "not calibrated on held-out cases"
        return (
            f"{content['name']}: {len(content['prototypes']) or 'no'} prototypes, learned from "
            f"{len(content['training'].get('cases', ()))} cases.\n"
            f"It is {measured}. SHA-256 {content['identity'][:12]}…"
        )
    except OSError:
        return f"There is no model card {card}; a model is a .safetensors file with its .json card beside it."
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{card.name} is not a model card of ProtoSegBrain ({type(error).__name__}: {error})."


def _describe(device):
    memory = f", {device['memory_gb']:g} GB" if device["memory_gb"] else ""
    return f"{device['name']} ({device['description']}{memory})"
