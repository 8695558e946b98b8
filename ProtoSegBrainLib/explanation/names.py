"""What prototypes are called: their look and tissue in plain words, told from the numbers on the model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ProtoSegBrainLib.labels import CLASSES, MODALITIES, MODALITY_NAMES, listed
from ProtoSegBrainLib.network.evidence import Evidence, Prototype

# Differences in z-scores, that is in standard deviations of the brain's intensities.
NOTICEABLE, MARKED = 0.8, 2.5
# Shares of the surroundings of a patch.
SOME, MOSTLY = 0.15, 0.7

# Typical z-scores of normal tissue (k-means clusters of healthy brain in BraTS), in the order of MODALITIES.
TISSUES = {
    "fluid (CSF)": (-2.0, -1.4, 3.3, -1.9),
    "grey-matter-like tissue": (-0.45, -0.40, 0.05, 0.15),
    "deep-grey-matter-like tissue": (0.20, 0.05, -0.25, 0.05),
    "white-matter-like tissue": (0.65, 0.35, -0.50, -0.30),
    "vessel or dura": (-0.60, 2.5, -0.50, -0.50),
}


def prototype_name(prototype: Prototype) -> str:
    """What a prototype looks like and is, for example "bright on T1ce, dark on T1: enhancing rim".

    Tumour is compared with the normal tissue on the other side of the brain where that is known, else, as background
    always is, with the brain's mean. Where it lies (rim, edge) is told from the classes around the patch.
    """
    values = prototype.contrast if prototype.contrast and prototype.class_name != "background" else prototype.profile
    tissue = _TISSUE_OF[prototype.class_name](prototype, values)
    looks = _looks(values)
    return f"{looks}: {tissue}" if looks else tissue


def names_of(evidence: Evidence) -> dict[int, str]:
    """What the prototypes of a result are called, by number; of a model that was never projected only points."""
    learned = {prototype.index: prototype_name(prototype) for prototype in evidence.prototypes}
    return learned | {
        index: channel_name(evidence, index) for index in range(evidence.n_learned, len(evidence.prototype_class))
    }


def channel_name(evidence: Evidence, index: int) -> str:
    """How a sentence points at a prototype of a result: "prototype 7", "your point 2"."""
    behind = index - evidence.n_learned
    return f"prototype {index}" if behind < 0 else f"your point {evidence.taught[behind].number}"


def _looks(values: Mapping[str, float]) -> str:
    """The most striking first: "very bright on FLAIR, bright on T2, dark on T1"; "" where nothing stands out."""
    groups: dict[str, list[str]] = {}
    for modality in sorted(values, key=lambda name: -abs(values[name])):
        size = abs(values[modality])
        if size >= NOTICEABLE:
            word = ("very " if size >= MARKED else "") + ("bright" if values[modality] > 0 else "dark")
            groups.setdefault(word, []).append(MODALITY_NAMES.get(modality, modality))
    return ", ".join(f"{word} on {listed(names)}" for word, names in groups.items())


def _enhancing(prototype: Prototype, values: Mapping[str, float]) -> str:
    around = prototype.surroundings
    faint = "" if values.get("t1c", 0) >= NOTICEABLE else "faintly "
    if around.get("NCR", 0) >= SOME:
        return f"{faint}enhancing rim"
    if around.get("ET", 0) >= MOSTLY:
        return f"{faint}enhancing solid tumour"
    if around.get("ED", 0) >= SOME:
        return f"{faint}enhancing tumour beside oedema"
    if around.get("background", 0) >= 2 * SOME:
        return f"{faint}enhancing tumour at its edge"
    return f"{faint}enhancing tumour"


def _necrotic(prototype: Prototype, values: Mapping[str, float]) -> str:
    around = prototype.surroundings
    if values.get("t2w", 0) >= NOTICEABLE and values.get("t2f", 0) < 0:
        return "fluid-like core"
    if values.get("t1n", 0) >= NOTICEABLE:
        return "core with short T1 (blood or protein?)"
    if around.get("ET", 0) >= SOME:
        return "necrotic core inside an enhancing rim"
    if around.get("ED", 0) >= SOME:
        return "core beside oedema"
    return "necrotic or non-enhancing core"


def _oedema(prototype: Prototype, values: Mapping[str, float]) -> str:
    around = prototype.surroundings
    if around.get("ET", 0) + around.get("NCR", 0) >= SOME:
        return "oedema at the tumour core"
    if around.get("background", 0) >= 2 * SOME:
        return "edge of the oedema"
    return "oedema" if values.get("t2f", 0) >= NOTICEABLE else "faint oedema"


def _healthy(prototype: Prototype, values: Mapping[str, float]) -> str:
    around = prototype.surroundings
    if not any(values.values()):
        return "outside the brain, at its surface" if around.get("background", 0) >= SOME else "outside the brain"
    profile = np.array([values.get(name, 0.0) for name in MODALITIES])
    tissue = min(TISSUES, key=lambda name: float(np.linalg.norm(profile - TISSUES[name])))
    if around.get("outside", 0) >= SOME:
        tissue += " at the brain's surface"
    if sum(around.get(name, 0) for name in CLASSES[1:]) >= SOME:
        tissue += " beside the tumour"
    return tissue


_TISSUE_OF: dict[str, Callable[[Prototype, Mapping[str, float]], str]] = {
    "background": _healthy,
    "NCR": _necrotic,
    "ED": _oedema,
    "ET": _enhancing,
}
