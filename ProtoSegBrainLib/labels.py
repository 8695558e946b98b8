"""Names used everywhere: modalities, classes, regions, and how each public data set codes its labels.

Standard library only, so that a user interface can import it without torch.
"""

from __future__ import annotations

from collections.abc import Sequence

MODALITIES = ("t1n", "t1c", "t2w", "t2f")
"""The four inputs, always in this order."""

MODALITY_NAMES = {"t1n": "T1", "t1c": "T1ce", "t2w": "T2", "t2f": "FLAIR"}
"""The same for people."""

MODALITY_ALIASES = {
    "t1n": ("t1n", "t1", "t1w", "t1pre"),
    "t1c": ("t1c", "t1ce", "t1gd", "t1gad", "t1post", "t1wce", "t1wc", "ct1", "t1contrast"),
    "t2w": ("t2w", "t2"),
    "t2f": ("t2f", "flair", "fla", "t2flair"),
}
"""Tokens of a file name, in lower case, that name a modality."""

CONTRAST_TOKENS = frozenset({"ce", "c", "gd", "gad", "gadolinium", "post", "contrast", "postcontrast"})
"""After a token of ``t1n`` they make it ``t1c``: ``T1_post``, ``t1-gd``."""

NO_CONTRAST_TOKENS = frozenset({"pre", "no", "non", "without", "precontrast"})
"""They take that back: ``T1_pre_contrast``."""

LABEL_TOKENS = frozenset({"seg", "segmentation", "label", "labels"})
"""Tokens of a file name that mark the expert's label map."""

OTHER_TOKENS = frozenset({"mask", "brainmask", "prob", "sim", "unc"})
"""Tokens of a file name that mark what is neither a modality nor a label."""

CLASSES = ("background", "NCR", "ED", "ET")
"""A class index in the library is a position here: necrotic/non-enhancing core, oedema, enhancing tumour."""

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
"""Whole tumour, tumour core and enhancing tumour as sets of class indices."""

REGION_NAMES = {"WT": "Whole tumour", "TC": "Tumour core", "ET": "Enhancing tumour"}
"""The same for people."""

CLASS_COLOURS = ((0, 0, 0), (214, 69, 65), (80, 172, 96), (64, 116, 222))
"""Red, green, blue (0 to 255) per class."""

LABEL_CONVENTIONS: dict[str, dict[int, int]] = {
    "brats2020": {0: 0, 1: 1, 2: 2, 4: 3},
    "brats2023": {0: 0, 1: 1, 2: 2, 3: 3},
    "msd": {0: 0, 1: 2, 2: 1, 3: 3},
}
"""Value in a file -> class index. BraTS 2017 to 2021, BraTS 2023 and later, Medical Segmentation Decathlon Task01
(its dataset.json: 1 oedema, 2 non-enhancing tumour, 3 enhancing tumour)."""

MSD_CHANNELS = ("t2f", "t1n", "t1c", "t2w")
"""Order of the channels in the 4-D files of the Medical Segmentation Decathlon Task01 (its dataset.json)."""


def listed(names: Sequence[str]) -> str:
    """In a sentence: "T1, T2 and FLAIR"; "" of none."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
