"""The decision at the crosshair."""

from html import escape

import qt
import slicer
import vtk

from ProtoSegBrainLib.network.evidence import no_prototypes

SHOWN = 5
"""Contributions that are named; the others are one bar."""
BAR_WIDTH = 90
"""Of the longest bar, in pixels."""
FOR, AGAINST = "#3a7bd5", "#c0504d"
DELAY_MS = 40
"""Between a movement of the crosshair and the explanation: a mouse moves more often than a person reads."""
HINT = "Hold Shift and move over a slice: why the voxel at the crosshair was labelled as it was."


class WhySection:
    """Class probabilities and contributions as bars that sum to the logit; the prototype that decides."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._explained = None
        self._crosshair = None
        self._mode = None
        self._isDue = False
        self._timer = qt.QTimer()
        self._timer.interval = DELAY_MS
        self._timer.timeout.connect(panel.guarded(self.explain))

    def observe(self):
        """Follow the crosshair of the scene, and show it; while the module is shown."""
        self.ignore()
        self._crosshair = crosshairOf(slicer.mrmlScene)
        if self._crosshair:
            self._mode = self._crosshair.GetCrosshairMode()
            if self._mode == slicer.vtkMRMLCrosshairNode.NoCrosshair:
                self._crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)
            self.panel.addObserver(self._crosshair, vtk.vtkCommand.ModifiedEvent, self.onMoved)

    def ignore(self):
        """Follow it no more; it is shown or hidden as before."""
        self._timer.stop()
        self._isDue = False
        if self._crosshair:
            self.panel.removeObserver(self._crosshair, vtk.vtkCommand.ModifiedEvent, self.onMoved)
            self._crosshair.SetCrosshairMode(self._mode)
        self._crosshair = None

    def onMoved(self, _caller, _event):
        """Explain soon; not later for further movements meanwhile."""
        if hasReasons(self.panel.result) and not self._isDue:
            self._isDue = True
            self._timer.start()

    def explain(self):
        """Explain the place of the crosshair, once."""
        self._timer.stop()
        self._isDue = False
        result, crosshair = self.panel.result, crosshairOf(slicer.mrmlScene)
        if not hasReasons(result) or not crosshair:
            return
        try:
            explanation = self.panel.logic.explainAt(result.nodes, crosshair.GetCrosshairRAS())
        except ValueError:  # no failure when a mouse passes there
            self._show(f"{HINT} The crosshair lies outside the image.", "")
            return
        evidence = result.current.evidence
        self._show(explanationText(explanation, evidence), cardText(explanation, evidence))

    def refresh(self):
        """Explain again when the result has changed."""
        current = self.panel.result.current if self.panel.result else None
        if current is not self._explained:
            self._explained = current
            isMute = self.panel.result is not None and not hasReasons(self.panel.result)
            self._show(no_prototypes(current.model["name"]) if isMute else HINT, "")
            self.onMoved(None, None)

    def _show(self, why, card):
        self.ui.whyLabel.text = why
        self.ui.nearestCardLabel.text = card
        self.ui.nearestCardLabel.visible = bool(card)


def hasReasons(result):
    """Whether there is a result, of a model with prototypes."""
    return result is not None and bool(result.original.evidence.prototype_class)


def crosshairOf(scene):
    """The crosshair node; None in a scene without one."""
    return scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")


def explanationText(explanation, evidence):
    """Rich text: place, class probabilities, and the terms whose sum is the logit of the class."""
    x, y, z = explanation.position_mm
    chances = sorted(explanation.probabilities.items(), key=lambda chance: -chance[1])
    told = ", ".join(f"{name} {share:.0%}" for name, share in chances)
    head = f"<b>{explanation.class_name}</b> at R {x:.1f}, A {y:.1f}, S {z:.1f} mm: {told}."
    if not explanation.inside_brain:
        return f"{head} Outside the brain (all four images are 0) the label is background, whatever the prototypes say."
    terms = termsOf(explanation, evidence)
    longest = max(abs(value) for _, value in terms) or 1.0
    rows = "".join(_bar(text, value, longest) for text, value in terms)
    logit = explanation.logits[explanation.class_name]
    total = f"<tr><td>= logit of {explanation.class_name}</td><td align='right'><b>{logit:+.2f}</b></td><td></td></tr>"
    return f"{head}<table cellspacing='3'>{rows}{total}</table>"


def termsOf(explanation, evidence):
    """Text and value of bias, of the largest contributions and of all others; they sum to the logit of the class."""
    name = explanation.class_name
    ours = [term for term in explanation.contributions if term.class_name == name and term.contribution]
    named, others = ours[:SHOWN], ours[SHOWN:]
    terms = [("bias", explanation.bias[name])]
    terms += [(f"{term.prototype}: {nameOf(evidence, term.prototype)}", term.contribution) for term in named]
    if others:
        terms.append((f"{len(others)} other prototypes", sum(term.contribution for term in others)))
    return terms


def nameOf(evidence, prototype):
    """A prototype in plain words; its class where nothing else is known."""
    from ProtoSegBrainLib.explanation.names import names_of

    return names_of(evidence).get(prototype) or f"prototype of {evidence.prototype_class[prototype]}"


def cardText(explanation, evidence):
    """Rich text: what is known of the prototype that contributes most to the class."""
    ours = [t for t in explanation.contributions if t.class_name == explanation.class_name and t.contribution]
    if not ours or not explanation.inside_brain:
        return ""
    term = ours[0]
    if term.prototype >= evidence.n_learned:
        return _pointText(evidence.taught[term.prototype - evidence.n_learned])
    if not evidence.prototypes:
        return ""
    known = evidence.prototypes[term.prototype]
    lines = [f"<b>Nearest: prototype {term.prototype}, {escape(nameOf(evidence, term.prototype))}.</b>"]
    lines.append(f"A patch of {known.patch_size_mm:g} mm of training case {escape(known.case_id)}.")
    if term.percentile is not None:
        lines.append(f"This place is more like it than {term.percentile:.0f}% of the true {term.class_name} there.")
    if known.purity is not None:
        lines.append(f"Of the training voxels most like it, {known.purity:.0%} are {known.class_name}.")
    if known.neighbours:
        lines.append("Next to it: " + ", ".join(escape(other.case_id) for other in known.neighbours[:3]) + ".")
    return " ".join(lines)


def _pointText(taught):
    r, a, s = taught.position_mm
    return (
        f"<b>Nearest: your point {taught.number}, {taught.class_name}.</b> You placed it at R {r:.1f}, A {a:.1f}, "
        f"S {s:.1f} mm; it counts within about {2 * taught.sigma_mm:.0f} mm."
    )


def _bar(text, value, longest):
    width = max(1, round(BAR_WIDTH * abs(value) / longest))
    colour = FOR if value >= 0 else AGAINST
    bar = f"<table cellspacing='0'><tr><td width='{width}' bgcolor='{colour}'>&nbsp;</td></tr></table>"
    return f"<tr><td>{escape(text)}</td><td align='right'>{value:+.2f}</td><td>{bar}</td></tr>"
