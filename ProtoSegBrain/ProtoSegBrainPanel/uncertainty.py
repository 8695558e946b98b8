"""Where the result is unsure, whether the scan is familiar."""

import slicer
from ProtoSegBrainScene.heatmap import showUncertainty

from ProtoSegBrainPanel.result import SIMULATED
from ProtoSegBrainPanel.views import slicesOf

UNSURE_FROM = 0.05
"""Share of the largest entropy below which the map is transparent."""


class UncertaintySection:
    """The entropy map over the slices, and the sentence on how usual the scan is."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._shown = None

    def refresh(self):
        """The map in place of the similarity, while it is asked for."""
        result, parameters = self.panel.result, self.panel.parameters
        self.ui.showUncertaintyCheckBox.enabled = result is not None
        sentence = familiarityText(result.original) if result else ""
        self.ui.familiarityLabel.text = sentence
        self.ui.familiarityLabel.visible = bool(sentence)
        wanted = None
        if result and parameters.showUncertainty:
            wanted = (result.key, parameters.opacity)
        if wanted is not None and wanted != self._shown:
            slices = slicesOf(slicer.mrmlScene)
            showUncertainty(self.panel.logic.context, result.nodes, None, slices, UNSURE_FROM, parameters.opacity)
        self._shown = wanted

    def forget(self):
        """Show the map again at the next refresh: the views are others now."""
        self._shown = None


def familiarityText(prediction):
    """What the result says of the scan as a whole; "" where that was never measured."""
    sentence = (prediction.findings.get("out_of_distribution") or {}).get("sentence") or ""
    return f"{SIMULATED} {sentence}" if sentence and prediction.simulated else sentence
