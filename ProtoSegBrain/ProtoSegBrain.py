"""ProtoSegBrain in 3D Slicer: brain tumours, and why.

Here stands what Slicer looks for by name. Widget -> panel (ProtoSegBrainPanel) -> Logic -> scene code
(ProtoSegBrainScene) -> library (ProtoSegBrainLib). What is not part of Slicer is imported where it is needed, so that
the module loads without it.
"""

import importlib.util
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

PACKAGES = ("ProtoSegBrainLib", "ProtoSegBrainScene", "ProtoSegBrainPanel")

if importlib.util.find_spec(PACKAGES[0]) is None:  # in a source checkout the library lies beside this folder
    sys.path.append(str(Path(__file__).resolve().parents[1]))


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
            "exact sum over likenesses to patches of training cases. Choose four volumes, as scanned or prepared, "
            "or a simulated case, and click Segment.<br><b>For research use only. Not a medical device; not for "
            "diagnosis or treatment.</b>"
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
# ProtoSegBrainWidget
#


class ProtoSegBrainWidget(ScriptedLoadableModuleWidget):
    """What Slicer calls; the rest is in ProtoSegBrainPanel.panel.Panel."""

    def setup(self):
        """Called when the module is opened for the first time."""
        from ProtoSegBrainPanel.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ProtoSegBrain.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ProtoSegBrainLogic()
        self.panel = Panel(self.logic, self.ui)

    def cleanup(self):
        """Called when Slicer quits and before the module is reloaded."""
        self.panel.close()

    def enter(self):
        """Called each time the module is opened."""
        self.panel.enter()

    def exit(self):
        """Called each time another module is opened."""
        self.panel.exit()

    def onReload(self):
        """Load the library, the scene code and the panel anew as well; enter the new one where this was entered."""
        isEntered = self.panel.isEntered
        for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        reloaded = getattr(slicer.modules, type(self).__name__, None)
        if isEntered and reloaded is not None and not reloaded.panel.isEntered:
            reloaded.enter()


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

    bundledModel = str(Path(importlib.util.find_spec(PACKAGES[0]).origin).parent / "weights" / "default.safetensors")

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
        from ProtoSegBrainPanel.worker import makeWorker

        if self._worker is None:
            self._worker = makeWorker(self.workerCommand())
        return self._worker

    def workerCommand(self):
        """What starts the worker: Slicer's own Python."""
        from ProtoSegBrainPanel.worker import workerCommand

        return workerCommand()

    def checkInstallation(self, modelPath=None):
        """What there is to compute with: versions, devices, model (as segmentation.environment says it)."""
        return self.worker.wait_for_values(self.worker.check(model=modelPath))

    # -- inputs --

    def loadFolder(self, folder):
        """Load a case in any format that the library reads, DICOM too; volume nodes by modality.

        Images on grids of their own, and those of DICOM, come as they were stored.
        """
        from ProtoSegBrainScene.case import addCase, addStudy

        from ProtoSegBrainLib.images.case import case_of, checked_study
        from ProtoSegBrainLib.images.volume import same_grid
        from ProtoSegBrainLib.preparation.study import read_study

        study = read_study(folder)
        first, *others = study.volumes.values()
        if not study.series and all(same_grid(other, first.shape, first.affine) for other in others):
            return addCase(slicer.mrmlScene, case_of(study))
        checked_study(study)  # refuses what is no image of a head
        return addStudy(slicer.mrmlScene, study)

    def simulate(self, seed=1):
        """Make a case that is no patient; volume nodes by modality."""
        from ProtoSegBrainScene.case import addCase

        from ProtoSegBrainLib.simulation.simulate import simulate_case

        return addCase(slicer.mrmlScene, simulate_case(seed))

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
        prepare="auto",
        brainMask=None,
    ):
        """Segment and show the result; returns when it is there.

        :param flair, t1, t1ce, t2: scalar volume nodes.
        :param segmentation: node to be filled; None makes one.
        :param device: auto, cuda or cpu.
        :param modelPath: a .safetensors file with its card beside it; None for the bundled model.
        :param onProgress: called with a fraction from 0 to 1 and a text.
        :param prepare: auto, none or all: align the images and find the brain as needed, never or always.
        :param brainMask: segmentation node with the brain, in place of what a network finds.
        :return: the nodes of the result (ProtoSegBrainScene.result.ResultNodes).
        """
        inputs = {"t2f": flair, "t1n": t1, "t1c": t1ce, "t2w": t2}
        request = self.request(inputs, device, modelPath, testTimeAugmentation, prepare, brainMask)
        return self.results.show(self.worker.wait(request, onProgress), inputs, segmentation)

    def request(
        self, inputs, device="auto", modelPath=None, testTimeAugmentation=False, prepare="auto", brainMask=None
    ):
        """Send volume nodes by modality to the worker, if they agree; returns the number of the request."""
        from ProtoSegBrainScene.brainmask import brainMaskOf
        from ProtoSegBrainScene.case import caseIdOf
        from ProtoSegBrainScene.inputs import describeAgreement, volumeOf

        agreement = describeAgreement(inputs)
        if not agreement.canRun:
            raise ValueError(agreement.sentence)
        if prepare == "none" and brainMask is not None:
            raise ValueError(
                "A brain mask was chosen, and the images are to be taken as they are; choose one or the other."
            )
        volumes = {role: volumeOf(node) for role, node in inputs.items()}
        if brainMask is not None:
            volumes["brain"] = brainMaskOf(brainMask, volumes["t1c"])
        settings = {"model": modelPath, "device": device, "tta": testTimeAugmentation, "prepare": prepare}
        return self.worker.segment(volumes, caseIdOf(inputs), **settings)

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

    def requestEmbedding(self, nodes, device="auto", modelPath=None):
        """Ask the worker for what points of a person are learned by; returns the number of the request."""
        from ProtoSegBrainScene.resultfiles import caseOfResult

        from ProtoSegBrainLib.images.volume import Volume
        from ProtoSegBrainLib.labels import MODALITIES

        case = caseOfResult(nodes, self.results.of(nodes.segmentation).original)
        volumes = {role: Volume(image, case.affine) for role, image in zip(MODALITIES, case.images, strict=True)}
        return self.worker.embed(volumes, case.case_id, model=modelPath, device=device)

    def teach(self, nodes, points, device="auto", modelPath=None):
        """Correct a result by points (ProtoSegBrainLib.Point, RAS mm), in place of all that it had; the prediction.

        Without points it is the model's own again.
        """
        from ProtoSegBrainScene.points import setPoints

        if points and self.results.of(nodes.segmentation).embedding is None:
            request = self.requestEmbedding(nodes, device, modelPath)
            self.results.learnFrom(nodes, self.worker.wait_for_embedding(request))
        prediction = self.results.teach(nodes, points)
        setPoints(nodes.segmentation, points)
        return prediction

    def saveCorrectedCase(self, nodes, folder):
        """Write images and corrected label as a case to train on, in a folder of its own below; that folder."""
        from ProtoSegBrainScene.resultfiles import caseOfResult

        from ProtoSegBrainLib.correction.corrected import write_corrected_case

        current = self.results.of(nodes.segmentation).current
        return write_corrected_case(current, caseOfResult(nodes, current), folder)

    def compare(self, earlier, later, onProgress=None):
        """Compare results of one patient at two dates (their nodes): ProtoSegBrainScene.comparison.Comparison.

        Both scans lie on each other then, and a segmentation shows what stayed, is new and is gone.
        """
        from ProtoSegBrainScene.comparison import compare

        results = [(nodes, self.results.of(nodes.segmentation).current) for nodes in (earlier, later)]
        return compare(slicer.mrmlScene, results, onProgress=onProgress)

    def saveComparison(self, comparison, folder, overwrite=False):
        """Write the files that the command ``follow`` writes, report included; paths by name."""
        from ProtoSegBrainLib.followup.followup_files import write_followup
        from ProtoSegBrainLib.pictures.followup import write_followup_report

        return write_followup(comparison.followup, folder, overwrite, write_followup_report)

    def explainAt(self, nodes, ras):
        """Why the place (RAS mm) was labelled as it was: ProtoSegBrainLib.explanation.explain.Explanation."""
        from ProtoSegBrainLib.explanation.explain import explain

        return explain(self.results.of(nodes.segmentation).current, ras)

    def showPrototype(self, nodes, index, background=None, threshold=0.3, opacity=0.6):
        """Show where the image resembles a prototype, over a volume or what each slice view has, in all of them."""
        from ProtoSegBrainScene.heatmap import showPrototype
        from ProtoSegBrainScene.layout import compositeNodes

        slices = compositeNodes(slicer.mrmlScene).values()
        prediction = self.results.of(nodes.segmentation).whole
        showPrototype(self.context, nodes, prediction, index, background, slices, threshold, opacity)

    def saveResults(self, nodes, folder, overwrite=False):
        """Write the files that the command line writes, report included; all or none. Paths by kind."""
        from ProtoSegBrainScene.resultfiles import writeResult

        return writeResult(nodes, self.results.of(nodes.segmentation).current, folder, overwrite)

    def saveScene(self, path):
        """Write the whole scene as a .mrb file."""
        if not slicer.util.saveScene(path):
            raise OSError(f"The scene could not be written to {path}; see the log of Slicer.")


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
        """Simulate, segment, explain, turn a prototype off and on again, correct by a point and take it back."""
        from ProtoSegBrainScene.heatmap import strongestSpot
        from ProtoSegBrainScene.tables import prototypeRows

        from ProtoSegBrainLib import Point

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
        self.delayDisplay("Correcting it by a point")
        try:
            place = strongestSpot(prediction, leading)
            taught = logic.teach(nodes, [Point(place, "background")], device="cpu")
        finally:
            logic.close()
        assert logic.explainAt(nodes, place).class_name == "background"
        assert taught.volumes_ml["WT"] < prediction.volumes_ml["WT"]
        assert logic.teach(nodes, []).volumes_ml == prediction.volumes_ml
        self.delayDisplay("Test passed")
