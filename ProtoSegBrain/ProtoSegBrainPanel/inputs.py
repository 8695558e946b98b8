"""Four volumes, whether they belong together, and what will be done to them."""

import qt
import slicer
import vtk
from ProtoSegBrainScene.inputs import describeAgreement, describePlan, lookAt, proposeInputs
from ProtoSegBrainScene.moves import asScanned
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE

from ProtoSegBrainPanel.parameternode import PREPARE

PARAMETERS = {"t2f": "inputFlair", "t1n": "inputT1", "t1c": "inputT1ce", "t2w": "inputT2"}
"""Name in the parameter node of each modality's volume."""
CHANGES = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
)
"""Of a volume: another name or transform, a transform that was edited, other voxels."""
LOADING_MS = 400
"""Without a new volume, after which all are taken to be loaded."""


class InputsSection:
    """Selectors of the four modalities, and buttons that fill them."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self.canRun = False
        self._described = None
        self._agreed = ""
        self._seen = None
        self._look = None
        self._followed = []
        self._timer = qt.QTimer()
        self._timer.interval = LOADING_MS
        self._timer.timeout.connect(panel.guarded(self.fillEmpty))
        ui.loadFolderButton.clicked.connect(panel.guarded(self.loadFolder))
        ui.simulatedCaseButton.clicked.connect(panel.guarded(self.simulate))
        ui.fillInputsButton.clicked.connect(panel.guarded(self.fill))

    def nodes(self):
        """Chosen volume node by modality; None where none is chosen."""
        return {role: getattr(self.panel.parameters, name) for role, name in PARAMETERS.items()}

    def state(self):
        """Tells what is chosen, where it lies and what its voxels are from all that was, at little cost."""
        return [_stateOf(node) if node else None for node in self.nodes().values()]

    def choose(self, nodes):
        """Choose volumes by modality, in place of all that were; their result with them."""
        self.panel.hold()
        try:
            self.assign(nodes)
        finally:
            self.panel.release()
        self.panel.showInputs()

    def assign(self, nodes):
        """Make these the chosen volumes, by modality."""
        for role, name in PARAMETERS.items():
            setattr(self.panel.parameters, name, nodes.get(role))

    def follow(self, nodes):
        """Refresh when one of these volumes is changed, moved or renamed; follow all others no more."""
        if nodes != self._followed:
            for change in CHANGES:
                for node in self._followed:
                    self.panel.removeObserver(node, change, self.panel.onModified)
                for node in nodes:
                    self.panel.addObserver(node, change, self.panel.onModified)
            self._followed = nodes

    def fill(self):
        """Choose volumes by their names."""
        found = proposeInputs(slicer.mrmlScene)
        if not found:
            raise ValueError("No volume of the scene has a name that tells its modality, such as flair, t1, t1ce, t2.")
        self.choose(found)

    def fillEmpty(self):
        """Choose volumes by their names where none is chosen, unless others than those were chosen before."""
        self._timer.stop()
        nodes, found = self.nodes(), proposeInputs(slicer.mrmlScene)
        isOurs = all(node is None or node is found.get(role) for role, node in nodes.items())
        if isOurs and found != {role: node for role, node in nodes.items() if node}:
            self.choose(found)

    def fillSoon(self):
        """Do so when no more volumes have come for a moment: they come one by one."""
        if not self.panel.requests.isSegmenting:
            self._timer.start()

    def stop(self):
        """Do not, after all."""
        self._timer.stop()

    def loadFolder(self):
        """Ask for a folder and load the case in it."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Folder of a case")
        if folder and self.panel.isInstalled() and self.panel.installation.canRead(folder):
            with slicer.util.WaitCursor():
                self.choose(self.panel.logic.loadFolder(folder))

    def forget(self):
        """The scene is another one: look again."""
        self._described = self._seen = self._look = None

    def simulate(self):
        """Make a case that is no patient."""
        with slicer.util.WaitCursor():
            self.choose(self.panel.logic.simulate())

    def refresh(self):
        """Say whether the four agree; asked again only when one is replaced or changed."""
        nodes = self.nodes()
        self.follow([node for node in dict.fromkeys(nodes.values()) if node])
        key = [self.state(), *(node.GetName() for node in nodes.values() if node)]
        if key != self._described:
            self._described = key
            agreement = describeAgreement(nodes)
            self._agreed = agreement.sentence
            self.canRun = agreement.canRun
            self._lookLater(key[0])
        self._describe()
        isFree = not self.panel.requests.isSegmenting
        self._offer(isFree)

    def _lookLater(self, state):
        """What the images show, when the window is idle; once for the same voxels in the same places."""
        if state != self._seen:
            self._seen, self._look = state, None
        if self.canRun and self._look is None:
            self.panel.idle.later("look", self.look)

    def look(self):
        """See what the images show: with skull, aligned."""
        if self.canRun and self._look is None:
            try:
                self._look = lookAt(self.nodes())
            except ValueError:  # said when they are segmented
                return
            self._describe()

    def _describe(self):
        """What will be done, as far as it is known by now."""
        parameters = self.panel.parameters
        sentence = self._agreed
        if self.canRun and self._look:
            prepare, hasMask = PREPARE[parameters.prepare], parameters.brainMask is not None
            sentence = describePlan(self.nodes(), self._look, prepare, hasMask)
        if sentence != self.ui.agreementLabel.text:
            self.ui.agreementLabel.text = sentence

    def _offer(self, isFree):
        """Selectors and buttons: not during a run, and nothing that is no image or mask."""
        self.ui.prepareComboBox.enabled = self.ui.brainMaskSelector.enabled = isFree
        self.ui.brainMaskSelector.sortFilterProxyModel().hiddenNodeIDs = tumoursOfResults(slicer.mrmlScene)
        maps = partsOfResults(slicer.mrmlScene)
        for name in PARAMETERS.values():
            selector = getattr(self.ui, f"{name}Selector")
            selector.enabled = isFree
            selector.sortFilterProxyModel().hiddenNodeIDs = maps
        for button in (self.ui.loadFolderButton, self.ui.simulatedCaseButton, self.ui.fillInputsButton):
            button.enabled = isFree


def partsOfResults(scene):
    """IDs of the volumes that are part of a result: no images of a patient."""
    return [node.GetID() for node, part in _nodes(scene, "vtkMRMLScalarVolumeNode") if part]


def tumoursOfResults(scene):
    """IDs of the segmentations of results that are no brain."""
    return [node.GetID() for node, part in _nodes(scene, "vtkMRMLSegmentationNode") if part and part != "mask"]


def _nodes(scene, kind):
    """Each node of a class, and which part of a result it is."""
    nodes = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    return [(node, node.GetAttribute(RESULT_ATTRIBUTE)) for node in nodes]


def _stateOf(node):
    image = node.GetImageData()
    try:
        place = asScanned(node).tobytes()
    except ValueError:  # under a transform that is not linear
        place = None
    return node.GetID(), image and image.GetMTime(), place
