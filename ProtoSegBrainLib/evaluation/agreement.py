"""Predicted against true classes, voxel by voxel: one small matrix per case, from which all overlap scores follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ProtoSegBrainLib.evaluation.evaluate import ET_TYPICAL_ML
from ProtoSegBrainLib.evaluation.pairs import Files, Outcomes, PairReading, over_pairs
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import voxel_ml
from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.lesion import count_foci
from ProtoSegBrainLib.result.metrics import SCORED

SMALL_ML = 40.0
"""A true whole tumour below this is small."""
FOCUS_ML = 0.5
"""Separate parts of the truth from this size on make a case multi-focal; below it, they are often stray voxels."""
KINDS = {
    "small": f"whole tumour below {SMALL_ML:g} ml",
    "multi-focal": f"two or more parts of {FOCUS_ML:g} ml, of the whole tumour or its core",
    "little ET": f"enhancing tumour below {ET_TYPICAL_ML:g} ml",
    "no ET": "no enhancing tumour",
}
"""Cases that are known to fail more often, by their true label; a case can be of several kinds."""
REST = "the rest"


@dataclass(frozen=True)
class Agreement:
    """One case's prediction against its label.

    Attributes:
        case_id: Of the case.
        voxels: (4, 4) int64, voxels by true class (rows) and predicted class (columns), inside the brain.
        voxel_ml: Volume of one of them.
        foci: Separate parts of at least ``FOCUS_ML`` in the truth: of the whole tumour or of its core, the larger
            number.
    """

    case_id: str
    voxels: np.ndarray
    voxel_ml: float
    foci: int

    def dice(self, name: str) -> float:
        """Of a region or class; both empty 1, one empty 0, as in ``metrics.dice``."""
        both, found, true = self._sizes(name)
        return 2 * both / (found + true) if found + true else 1.0

    def precision(self, name: str) -> float:
        """Share of the prediction that is true; both empty 1, one empty 0."""
        both, found, true = self._sizes(name)
        return both / found if found else float(not true)

    def recall(self, name: str) -> float:
        """Share of the truth that was found; both empty 1, one empty 0."""
        both, found, true = self._sizes(name)
        return both / true if true else float(not found)

    def true_ml(self, name: str) -> float:
        """True volume of a region or class."""
        return self._sizes(name)[2] * self.voxel_ml

    @property
    def mean_dice(self) -> float:
        """Over the three regions."""
        return float(np.mean([self.dice(region) for region in REGIONS]))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of ``KINDS`` that the case is of; often none."""
        et_ml = self.true_ml("ET")
        applies = (self.true_ml("WT") < SMALL_ML, self.foci > 1, 0 < et_ml < ET_TYPICAL_ML, et_ml == 0)
        return tuple(kind for kind, it_does in zip(KINDS, applies, strict=True) if it_does)

    def _sizes(self, name: str) -> tuple[int, int, int]:
        """Voxels that are both predicted and true, predicted, and true."""
        classes = list(SCORED[name])
        rows, columns = self.voxels[classes], self.voxels[:, classes]
        return int(rows[:, classes].sum()), int(columns.sum()), int(rows.sum())


def compare(case: Case, predicted: np.ndarray) -> Agreement:
    """Count the voxels of a case with its label by true and predicted class.

    Args:
        case: With its label.
        predicted: (X, Y, Z) uint8 class indices on the case's grid.
    """
    truth, n = np.asarray(case.label), len(CLASSES)
    counted = case.brain | (truth > 0) | (predicted > 0)
    pairs = truth[counted].astype(np.int64) * n + predicted[counted]
    masks = (np.isin(truth, REGIONS[region]) for region in ("WT", "TC"))
    foci = max(count_foci(mask, case.affine, FOCUS_ML) for mask in masks)
    return Agreement(case.case_id, np.bincount(pairs, minlength=n * n).reshape(n, n), voxel_ml(case.affine), foci)


def compare_all(
    pairs: Sequence[Files], reading: PairReading | None = None, on_progress: Progress | None = None
) -> Outcomes[Agreement]:
    """``compare`` every case that ``pairs.pair_up`` found; one that cannot be read stops no other.

    Raises:
        ValueError: None could be read.
    """
    return over_pairs(pairs, lambda pair: compare(pair.case, pair.predicted), reading, on_progress)


def ranked(agreements: Sequence[Agreement]) -> list[Agreement]:
    """By mean Dice, the best first; equals by name."""
    return sorted(agreements, key=lambda case: (-case.mean_dice, case.case_id))
