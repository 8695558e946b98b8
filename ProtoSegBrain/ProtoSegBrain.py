"""ProtoSegBrain in 3D Slicer: brain tumours, and why.

Widget -> Logic -> scene code (ProtoSegBrainScene) -> library (ProtoSegBrainLib). The panel's sections are in
ProtoSegBrainPanel. What is not part of Slicer is imported where it is needed, so that the module loads without it.
"""

import importlib.util
import itertools
import logging
import os
import re
import shutil
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

FOLDER = Path(__file__).resolve().parent
PACKAGES = ("ProtoSegBrainLib", "ProtoSegBrainScene", "ProtoSegBrainPanel")

if importlib.util.find_spec(PACKAGES[0]) is None:  # in a source checkout the library lies beside this folder
    sys.path.append(str(FOLDER.parent))

LIBRARY = Path(importlib.util.find_spec(PACKAGES[0]).origin).parent
OWN_IMAGE = "Each view's own"
BACKGROUNDS = {OWN_IMAGE: None, "FLAIR": "t2f", "T1": "t1n", "T1ce": "t1c", "T2": "t2w"}
POLLING_MS = 100


#
# ProtoSegBrain
#


class ProtoSegBrain(ScriptedLoadableModule):
    """What Slicer knows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("ProtoSegBrain")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["ProtoSegBrain contributors"]
        self.parent.helpText = _(
            "Segments brain tumours (NCR, ED, ET) in FLAIR, T1, T1ce and T2, and shows why: every voxel's label is an "
            "exact sum over likenesses to patches of training cases. Choose four skull-stripped volumes, or a "
            "simulated case, and click Segment.<br><b>For research use only. Not a medical device; not for diagnosis "
            "or treatment.</b>"
        )
        self.parent.acknowledgementText = _(
            "The bundled weights were trained on data of the BraTS challenges (Menze et al. 2015; Bakas et al. 2017, "
            "2018; Baid et al. 2021), for non-commercial research. Code: Apache-2.0."
        )
        slicer.app.connect("startupCompleted()", self.registerSampleData)

    def registerSampleData(self):
        """Offer cases in the Sample Data module."""
        from ProtoSegBrainPanel.sampledata import registerSampleData

        registerSampleData(ProtoSegBrainLogic, self.parent.path)


#
# ProtoSegBrainParameterNode
#


@parameterNodeWrapper
class ProtoSegBrainParameterNode:
    """What was chosen in the panel; saved with the scene."""

    inputFlair: vtkMRMLScalarVolumeNode
    inputT1: vtkMRMLScalarVolumeNode
    inputT1ce: vtkMRMLScalarVolumeNode
    inputT2: vtkMRMLScalarVolumeNode
    device: Annotated[str, Choice(["Automatic", "GPU", "CPU"])] = "Automatic"
    modelPath: str = ""
    testTimeAugmentation: bool = False
    segmentation: vtkMRMLSegmentationNode
    showThreeD: bool = False
    showOutlines: bool = False
    prototype: int = -1
    disabledPrototypes: list[int]
    background: Annotated[str, Choice(list(BACKGROUNDS))] = OWN_IMAGE
    showMap: bool = True
    threshold: Annotated[float, WithinRange(0, 1)] = 0.3
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    showInThreeD: bool = False
    showOnSurface: bool = False
    showUncertainty: bool = False


#
# ProtoSegBrainWidget
#


class ProtoSegBrainWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: makes the sections, tells them to refresh, and is the one place that catches errors."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameters = None
        self._guiTag = None
        self.isEntered = False
        self._isRefreshing = False
        self._shownSegmentation = None

    def setup(self):
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ProtoSegBrain.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ProtoSegBrainLogic()
        self._makeSections()
        self._timer = qt.QTimer()
        self._timer.interval = POLLING_MS
        self._timer.timeout.connect(self.guarded(self.poll))
        self.initializeParameterNode()

    def _makeSections(self):
        from ProtoSegBrainPanel.inputs import InputsSection
        from ProtoSegBrainPanel.installation import InstallationSection
        from ProtoSegBrainPanel.message import MessageSection
        from ProtoSegBrainPanel.prototypes import PrototypesSection
        from ProtoSegBrainPanel.requests import Requests
        from ProtoSegBrainPanel.result import ResultSection
        from ProtoSegBrainPanel.run import RunSection
        from ProtoSegBrainPanel.scene import SceneObserver
        from ProtoSegBrainPanel.uncertainty import UncertaintySection
        from ProtoSegBrainPanel.views import Views
        from ProtoSegBrainPanel.why import WhySection

        self.requests = Requests(self.logic)
        self.views = Views()
        self.message = MessageSection(self, self.ui)
        self.inputs = InputsSection(self, self.ui)
        self.run = RunSection(self, self.ui)
        self.prototypes = PrototypesSection(self, self.ui)
        self.why = WhySection(self, self.ui)
        self.uncertainty = UncertaintySection(self, self.ui)
        self.installation = InstallationSection(self, self.ui)
        # What-if, which the prototypes do, changes what the result shows: they come first.
        self.sections = (
            *(self.inputs, self.run, self.prototypes, ResultSection(self, self.ui)),
            *(self.why, self.uncertainty, self.installation),
        )
        self._sceneObserver = SceneObserver(self)

    def cleanup(self):
        """Called when Slicer quits and before the module is reloaded."""
        if self.isEntered:
            self.exit()
        self._timer.stop()
        self.inputs.stop()
        self.requests.cancel()
        self.logic.close()
        self.setParameterNode(None)
        self._sceneObserver.removeObservers()
        self.removeObservers()

    def enter(self):
        """Called each time the module is opened."""
        self.isEntered = True
        self.why.observe()
        self.guarded(self.views.enter)()
        self.guarded(self.showInputs)()
        self.guarded(self.inputs.fillEmpty)()
        self.guarded(self.installation.lookForDevices)()

    def exit(self):
        """Called each time another module is opened."""
        self.isEntered = False
        self.inputs.stop()
        self.why.ignore()
        self.guarded(self.views.leave)()

    def onReload(self):
        """Load the library, the scene code and the sections anew as well."""
        for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # -- state --

    @property
    def result(self):
        """The result of the chosen segmentation; None if there is none."""
        return self.logic.results.of(self.parameters.segmentation) if self.parameters else None

    @property
    def background(self):
        """The volume that was chosen to lie under a map in all views; None: each view keeps its own."""
        role = BACKGROUNDS[self.parameters.background]
        return self.inputs.nodes()[role] if role else None

    def initializeParameterNode(self):
        """Make sure that there is a parameter node, and show what it says."""
        self.setParameterNode(ProtoSegBrainParameterNode(self.logic.getParameterNode()))

    def setParameterNode(self, parameters):
        """Follow another parameter node, or none."""
        if self.parameters:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self.parameters = parameters
        if self.parameters:
            self._shownSegmentation = self.parameters.segmentation
            self._guiTag = self.parameters.connectGui(self.ui)
            self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
            self.onModified()

    def onModified(self, _caller=None, _event=None):
        """Something was chosen."""
        self.guarded(self.refresh)()

    def refresh(self):
        """All sections show what is."""
        if self._isRefreshing or not self.parameters:
            return
        self._isRefreshing = True
        try:
            if self.parameters.segmentation is not self._shownSegmentation:
                self._shownSegmentation = self.parameters.segmentation
                self.parameters.disabledPrototypes = list(self.result.disabled) if self.result else []
            for section in self.sections:
                section.refresh()
        finally:
            self._isRefreshing = False

    def showInputs(self):
        """The chosen images in the module's own views, the maps over them."""
        if self.isEntered:
            self.views.assign(self.inputs.nodes())
        self.prototypes.forget()
        self.uncertainty.forget()
        self.refresh()

    def forget(self):
        """The scene is another one: nothing that was read from it or shown in it holds."""
        for part in (self.logic.results, self.views, self.prototypes, self.uncertainty):
            part.forget()

    def returnToScene(self):
        """Show what the scene says, after it was closed or loaded."""
        self.initializeParameterNode()
        if self.isEntered:
            self.why.observe()
            self.guarded(self.showInputs)()

    # -- running --

    def isInstalled(self):
        """Whether all packages are there; offers to install them where they are not."""
        return not self.installation.missing() or self.installation.install()

    def listen(self):
        """Ask the worker for news until all is answered."""
        self._timer.start()
        self.refresh()

    def poll(self):
        """News from the worker."""
        try:
            self.requests.poll()
        finally:
            self.run.tick()
            if not self.requests.isWaiting:
                self._timer.stop()
                self.refresh()

    def finish(self, prediction, inputs):
        """Show a result that has come; an older one of the same inputs makes way."""
        from ProtoSegBrainScene.result import inputsOf

        older = self.result
        isSame = older is not None and inputsOf(older.nodes) == inputs
        nodes = self.logic.results.show(prediction, inputs, older.nodes.segmentation if isSame else None)
        self._shownSegmentation = nodes.segmentation
        self.parameters.disabledPrototypes = []
        self.parameters.segmentation = nodes.segmentation
        self.prototypes.chooseLeading()
        self.showInputs()

    def guarded(self, action):
        """The method, with its errors shown; of a signal's arguments it gets as many as it takes."""
        count = action.__func__.__code__.co_argcount - 1

        def attempt(*arguments):
            try:
                return action(*arguments[:count])
            except Exception as error:
                logging.exception("ProtoSegBrain")
                self.message.show(str(error) or type(error).__name__, traceback.format_exc())
                return None

        return attempt


#
# ProtoSegBrainLogic
#


class ProtoSegBrainLogic(ScriptedLoadableModuleLogic):
    """Everything that the panel does, for scripts as well; opens no dialog.

    From a script: ``nodes = ProtoSegBrainLogic().process(flair, t1, t1ce, t2)``.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._worker = None
        self._results = None
        self._context = None

    # -- what there is --

    bundledModel = str(LIBRARY / "weights" / "default.safetensors")

    @property
    def context(self):
        """Scene and logics of the application, as the scene code takes them."""
        from ProtoSegBrainScene.context import contextForModules

        if self._context is None:
            self._context = contextForModules(slicer.mrmlScene, slicer.modules, slicer.app.applicationLogic())
        return self._context

    @property
    def worker(self):
        """The process that runs the network; it starts with the first request and ends when idle."""
        from ProtoSegBrainLib.segmentation.client import Worker

        if self._worker is None:
            path = os.pathsep.join([str(LIBRARY.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
            self._worker = Worker(self.workerCommand(), {**os.environ, "PYTHONPATH": path})
        return self._worker

    def workerCommand(self):
        """What starts the worker: Slicer's own Python."""
        python = shutil.which("PythonSlicer")
        if python is None:
            raise FileNotFoundError("PythonSlicer was not found on the path of Slicer; install Slicer again.")
        return [python, "-m", PACKAGES[0], "worker"]

    def checkInstallation(self, modelPath=None):
        """What there is to compute with: versions, devices, model (as segmentation.environment says it)."""
        return self.worker.wait_for_values(self.worker.check(model=modelPath))

    # -- inputs --

    def loadFolder(self, folder):
        """Load a case in any format that the library reads; volume nodes by modality."""
        from ProtoSegBrainLib.images.case import read_case

        return self._addCase(read_case(folder, with_label=False))

    def simulate(self, seed=1):
        """Make a case that is no patient; volume nodes by modality."""
        from ProtoSegBrainLib.images.simulate import simulate_case

        return self._addCase(simulate_case(seed))

    def _addCase(self, case):
        from ProtoSegBrainScene.grid import addVolume

        from ProtoSegBrainLib.images.volume import Volume
        from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES

        volumes = case.originals or [Volume(image, case.affine) for image in case.images]
        nodes = {}
        for role, volume in zip(MODALITIES, volumes, strict=True):
            name = f"{case.case_id} {MODALITY_NAMES[role]}"
            nodes[role] = addVolume(slicer.mrmlScene, "vtkMRMLScalarVolumeNode", name, volume)
            nodes[role].CreateDefaultDisplayNodes()
        return nodes

    # -- segmenting --

    def process(
        self,
        flair,
        t1,
        t1ce,
        t2,
        segmentation=None,
        device="auto",
        modelPath=None,
        testTimeAugmentation=False,
        onProgress=None,
    ):
        """Segment and show the result; returns when it is there.

        :param flair, t1, t1ce, t2: scalar volume nodes.
        :param segmentation: node to be filled; None makes one.
        :param device: auto, cuda or cpu.
        :param modelPath: a .safetensors file with its card beside it; None for the bundled model.
        :param onProgress: called with a fraction from 0 to 1 and a text.
        :return: the nodes of the result (ProtoSegBrainScene.result.ResultNodes).
        """
        inputs = {"t2f": flair, "t1n": t1, "t1c": t1ce, "t2w": t2}
        request = self.request(inputs, device, modelPath, testTimeAugmentation)
        return self.results.show(self.worker.wait(request, onProgress), inputs, segmentation)

    def request(self, inputs, device="auto", modelPath=None, testTimeAugmentation=False):
        """Send volume nodes by modality to the worker, if they agree; returns the number of the request."""
        from ProtoSegBrainScene.inputs import describeAgreement, volumeOf

        agreement = describeAgreement(inputs)
        if not agreement.canRun:
            raise ValueError(agreement.sentence)
        volumes = {role: volumeOf(node) for role, node in inputs.items()}
        return self.worker.segment(volumes, caseIdOf(inputs), model=modelPath, device=device, tta=testTimeAugmentation)

    @property
    def log(self):
        """The last lines that the worker wrote."""
        return self._worker.log if self._worker else ()

    def cancel(self):
        """End the worker, its children and all that it was asked, at once."""
        if self._worker:
            self._worker.cancel()

    def close(self):
        """End the worker; the next request starts another."""
        if self._worker:
            self._worker.close()
        self._worker = None

    # -- results --

    @property
    def results(self):
        """The results of the scene with their predictions."""
        from ProtoSegBrainScene.results import Results

        if self._results is None:
            self._results = Results(self.context)
        return self._results

    def whatIf(self, nodes, disabled):
        """Show a result without some prototypes, by their numbers; without none, the network's own. The prediction."""
        return self.results.whatIf(nodes, disabled)

    def explainAt(self, nodes, ras):
        """Why the place (RAS mm) was labelled as it was: ProtoSegBrainLib.explanation.explain.Explanation."""
        from ProtoSegBrainLib.explanation.explain import explain

        return explain(self.results.of(nodes.segmentation).current, ras)

    def showPrototype(self, nodes, index, background=None, threshold=0.3, opacity=0.6):
        """Show where the image resembles a prototype, over a volume or what each slice view has, in all of them."""
        from ProtoSegBrainScene.heatmap import showPrototype
        from ProtoSegBrainScene.layout import compositeNodes

        slices = compositeNodes(slicer.mrmlScene).values()
        prediction = self.results.of(nodes.segmentation).original
        showPrototype(self.context, nodes, prediction, index, background, slices, threshold, opacity)

    def saveResults(self, nodes, folder):
        """Write the files that the command line writes, report included; all or none. Paths by kind."""
        from ProtoSegBrainScene.inputs import volumeOf
        from ProtoSegBrainScene.result import inputsOf

        from ProtoSegBrainLib.explanation.findings import findings
        from ProtoSegBrainLib.images.case import case_from_volumes
        from ProtoSegBrainLib.pictures.report import write_report
        from ProtoSegBrainLib.result.prediction import report_file, write_prediction

        prediction = self.results.of(nodes.segmentation).current
        if not prediction.findings:  # of a what-if; they take too long for each click
            prediction = replace(prediction, findings=findings(prediction))
        volumes = {role: volumeOf(node) for role, node in inputsOf(nodes).items()}
        case = case_from_volumes(volumes, prediction.case_id)
        files = write_prediction(prediction, folder)
        try:
            return {**files, "report": write_report(case, prediction, report_file(prediction.case_id, folder))}
        except BaseException:
            for path in files.values():
                path.unlink(missing_ok=True)
            raise

    def saveScene(self, path):
        """Write the whole scene as a .mrb file."""
        if not slicer.util.saveScene(path):
            raise OSError(f"The scene could not be written to {path}; see the log of Slicer.")


def _areEqual(letters):
    return len(set(letters)) == 1


def caseIdOf(inputs):
    """What the names of the volumes begin with, fit for a file name; "case" where they have nothing in common."""
    names = [node.GetName() for node in inputs.values()]
    start = "".join(letters[0] for letters in itertools.takewhile(_areEqual, zip(*names, strict=False)))
    if any(name[len(start) : len(start) + 1].isalnum() for name in names):  # not in the middle of a word
        start = re.sub(r"[^\W_]+$", "", start)
    return re.sub(r"[^\w.-]+", "_", start).strip("_.-") or "case"


#
# ProtoSegBrainTest
#


class ProtoSegBrainTest(ScriptedLoadableModuleTest):
    """The real flow in the real application: simulated case, bundled weights, worker process."""

    def runTest(self):
        """All tests, in an empty scene."""
        from ProtoSegBrainPanel.installation import missingPackages

        slicer.mrmlScene.Clear()
        missing = missingPackages()
        if missing:  # as on a build machine
            self.delayDisplay(f"Skipped: {', '.join(missing)} not installed")
            return
        self.test_simulatedCase()

    def test_simulatedCase(self):
        """Simulate, segment, explain, turn a prototype off and on again."""
        from ProtoSegBrainScene.heatmap import strongestSpot
        from ProtoSegBrainScene.tables import prototypeRows

        logic = ProtoSegBrainLogic()
        try:
            self.delayDisplay("Simulating a case")
            inputs = logic.simulate()
            self.delayDisplay("Segmenting it")
            nodes = logic.process(inputs["t2f"], inputs["t1n"], inputs["t1c"], inputs["t2w"], device="cpu")
        finally:
            logic.close()
        prediction = logic.results.of(nodes.segmentation).original
        assert nodes.segmentation.GetSegmentation().GetNumberOfSegments() == 3
        assert prediction.volumes_ml["WT"] > 10
        leading = prototypeRows(prediction)[0].index
        logic.showPrototype(nodes, leading)
        explanation = logic.explainAt(nodes, strongestSpot(prediction, leading))
        name = explanation.class_name
        ours = [term.contribution for term in explanation.contributions if term.class_name == name]
        assert abs(explanation.bias[name] + sum(ours) - explanation.logits[name]) < 1e-4
        assert logic.whatIf(nodes, [leading]).volumes_ml != prediction.volumes_ml
        assert logic.whatIf(nodes, []).volumes_ml == prediction.volumes_ml
        self.delayDisplay("Test passed")
