"""Cases in Slicer's Sample Data module: one that is no patient, one from a folder; nothing is downloaded."""

from pathlib import Path

import qt
import slicer


def registerSampleData(makeLogic, modulePath):
    """Add both to the module Sample Data, under the name of this one.

    :param makeLogic: makes a logic of this module; asked when a case is wanted.
    :param modulePath: of the file of this module, beside which the icon lies.
    """
    import SampleData

    def simulate(_source):
        return list(makeLogic().simulate().values())

    def load(_source):
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Folder of a case")
        with slicer.util.tryWithErrorDisplay("The case could not be loaded."):
            return list(makeLogic().loadFolder(folder).values()) if folder else []

    icon = Path(modulePath).parent / "Resources" / "Icons" / "ProtoSegBrain.png"
    for name, add in (("Simulated case", simulate), ("Case from a folder", load)):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="ProtoSegBrain",
            sampleName=name,
            uris="file://",
            fileNames=name,
            nodeNames=name,
            customDownloader=add,
            thumbnailFileName=str(icon),
        )
