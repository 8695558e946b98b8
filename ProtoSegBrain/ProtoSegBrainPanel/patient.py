"""One patient at a time: the result that is shown is that of the chosen images, whichever of the two was chosen."""

import slicer
from ProtoSegBrainScene.result import imagesOf
from ProtoSegBrainScene.shown import bringImages, showOnly


class Patient:
    """Makes images and result agree, and hides whatever belongs to any other result."""

    def __init__(self, panel):
        self.panel = panel
        self.sentence = ""
        self._reason = ""
        self.forget()

    def forget(self):
        """The scene is another one."""
        self._segmentation = None
        self._state = None
        self._ids = None
        self._result = None

    def follow(self, parameters):
        """What these parameters say was chosen together, as when a scene was saved."""
        self._segmentation = parameters.segmentation

    def settle(self):
        """Bring the images of a result that was chosen, or the result of images that were; hide all others."""
        parameters, before = self.panel.parameters, self._segmentation
        chosen = parameters.segmentation
        if chosen is not None and chosen is not before:
            self.panel.inputs.assign(imagesOf(chosen))
        nodes = self.panel.inputs.nodes()
        state = self.panel.inputs.state()
        if state != self._state or chosen is not before:
            self._reason = ""
        misfit = None if chosen is None else self.panel.logic.results.misfit(chosen, nodes)
        if misfit is not None or (chosen is before and state != self._state):
            self._reason = misfit or self._reason
            chosen = chosen if misfit is None and chosen else self._resultOf(nodes)
        self._keep(chosen, state)
        self._arrange(nodes)

    def _resultOf(self, nodes):
        """The segmentation of whole results of these images; None where they were not segmented yet."""
        results = self.panel.logic.results
        found = results.segmentationOf(nodes)
        return found if found is not None and results.misfit(found, nodes) is None else None

    def _keep(self, chosen, state):
        parameters = self.panel.parameters
        if parameters.segmentation is not chosen:
            parameters.segmentation = chosen
        if chosen is not self._segmentation:
            result = self.panel.result
            parameters.disabledPrototypes = list(result.disabled) if result else []
        self._segmentation, self._state = chosen, state

    def _arrange(self, nodes):
        """Images in the views, where others were chosen; nothing of another result in any view."""
        result, isFirst = self.panel.result, self._ids is None
        isOther = result is not self._result
        self._result = result
        if isOther:
            self.panel.drawAgain()
        ids = [node and node.GetID() for node in nodes.values()]
        if self.panel.isEntered and ids != self._ids:
            self._ids = ids
            self.panel.views.assign(nodes)
            bringImages(slicer.mrmlScene, nodes)
            if isOther and not isFirst:  # not in a scene that was loaded: its views are as they were left
                self.panel.run.forget()
                if result:
                    self.panel.views.look(result.current)
        showOnly(slicer.mrmlScene, self._segmentation)
        self.sentence = self._sentence(nodes)

    def _sentence(self, nodes):
        if self.panel.result is not None or not all(nodes.values()):
            return ""
        if self._resultOf(nodes) is not None:
            return "The result of these images is hidden; choose it above."
        return f"Not segmented yet. {self._reason}".strip()
