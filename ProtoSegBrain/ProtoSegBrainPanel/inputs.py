"""Four volumes, and whether they belong together."""

import qt
import slicer
from ProtoSegBrainScene.inputs import describeAgreement, proposeInputs

PARAMETERS = {"t2f": "inputFlair", "t1n": "inputT1", "t1c": "inputT1ce", "t2w": "inputT2"}
"""Name in the parameter node of each modality's volume."""
LOADING_MS = 400
"""Without a new volume, after which all are taken to be loaded."""


class InputsSection:
    """Selectors of the four modalities, and buttons that fill them."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self.canRun = False
        self._described = None
        self._timer = qt.QTimer()
        self._timer.interval = LOADING_MS
        self._timer.timeout.connect(panel.guarded(self.fillEmpty))
        ui.loadFolderButton.clicked.connect(panel.guarded(self.loadFolder))
        ui.simulatedCaseButton.clicked.connect(panel.guarded(self.simulate))
        ui.fillInputsButton.clicked.connect(panel.guarded(self.fill))

    def nodes(self):
        """Chosen volume node by modality; None where none is chosen."""
        return {role: getattr(self.panel.parameters, name) for role, name in PARAMETERS.items()}

    def choose(self, nodes):
        """Choose volumes by modality, in place of all that were."""
        for role, name in PARAMETERS.items():
            setattr(self.panel.parameters, name, nodes.get(role))
        self.panel.showInputs()

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
        if folder and self.panel.isInstalled():
            with slicer.util.WaitCursor():
                self.choose(self.panel.logic.loadFolder(folder))

    def simulate(self):
        """Make a case that is no patient."""
        with slicer.util.WaitCursor():
            self.choose(self.panel.logic.simulate())

    def refresh(self):
        """Say whether the four agree; asked again only when one is replaced or changed."""
        nodes = self.nodes()
        key = [(node.GetID(), node.GetMTime(), node.GetTransformNodeID()) if node else None for node in nodes.values()]
        if key != self._described:
            self._described = key
            agreement = describeAgreement(nodes)
            self.ui.agreementLabel.text = agreement.sentence
            self.canRun = agreement.canRun
        isFree = not self.panel.requests.isSegmenting
        for name in PARAMETERS.values():
            getattr(self.ui, f"{name}Selector").enabled = isFree
        for button in (self.ui.loadFolderButton, self.ui.simulatedCaseButton, self.ui.fillInputsButton):
            button.enabled = isFree
