"""How to read what a model answers: temperatures, what was measured on cases that it had not seen; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.records import require

TEMPERATURES = (0.01, 100.0)
DICE_COEFFICIENTS = 5
"""Intercept and features of the predicted Dice; see ``result.reliability``."""
LARGEST_QUANTILE = 20.0
"""Of the logarithm of a ratio of volumes."""
LEAST_EIGENVALUE = 1e-6


@dataclass(frozen=True)
class RegionReliability:
    """How well a region was predicted in cases that the models had not seen; see ``result.reliability``.

    Attributes:
        region: WT, TC or ET.
        n: Number of those cases.
        ece: Expected calibration error of the region's probability, over the voxels of the brain.
        volume_quantile: Of |log((predicted + 1 ml) / (true + 1 ml))|, for the volume interval; None: too few cases.
        coverage: Share of cases whose true volume lies in the interval, as aimed at.
        measured_coverage: As found on cases of models that did not help to choose the quantile; None if unknown.
        dice_coefficients: Intercept, then one per feature, of the predicted Dice; () if unknown.
        dice_error: Mean absolute error of the predicted Dice on left-out cases; None if unknown.
    """

    region: str
    n: int
    ece: float
    volume_quantile: float | None
    coverage: float
    measured_coverage: float | None
    dice_coefficients: tuple[float, ...] = ()
    dice_error: float | None = None

    def __post_init__(self) -> None:
        """Refuse figures from which no interval and no Dice can be computed."""
        require(self.region in REGIONS, f"region must be one of {', '.join(REGIONS)}, not {self.region!r}")
        require(self.n >= 0, f"n must be a number of cases, not {self.n}")
        for name in ("ece", "coverage", "measured_coverage", "dice_error"):
            share = getattr(self, name)
            require(share is None or 0 <= share <= 1, f"{name} must lie between 0 and 1, not {share}")
        quantile, count = self.volume_quantile, len(self.dice_coefficients)
        require(
            quantile is None or 0 <= quantile <= LARGEST_QUANTILE,
            f"volume_quantile must lie between 0 and {LARGEST_QUANTILE:g}, not {quantile}",
        )
        require(count in (0, DICE_COEFFICIENTS), f"dice_coefficients must be {DICE_COEFFICIENTS} or none, not {count}")


@dataclass(frozen=True)
class Normality:
    """How some measures of a scan spread over cases that the models had not seen; see ``result.familiarity``.

    Attributes:
        measures: Names of the measures.
        centre: Median of each (of its logarithm, for some).
        deviation: Standard deviation of each.
        correlation: Between them, shrunk towards independence.
        limit: Mahalanobis distance beyond which a scan is unlike those cases.
    """

    measures: tuple[str, ...]
    centre: tuple[float, ...]
    deviation: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]
    limit: float

    def __post_init__(self) -> None:
        """Refuse figures that do not belong together, and correlations that no measures can have."""
        count = len(self.measures)
        require(count == len(set(self.measures)) > 0, "measures must be different names, at least one")
        for name in ("centre", "deviation", "correlation"):
            own = len(getattr(self, name))
            require(own == count, f"{name} needs one entry for each of the {count} measures, not {own}")
        require(all(len(row) == count for row in self.correlation), f"correlation needs {count} numbers in each row")
        require(min(self.deviation) > 0, f"deviation must be positive, not {min(self.deviation)}")
        require(self.limit > 0, f"limit must be positive, not {self.limit}")
        related = np.array(self.correlation)
        is_possible = np.allclose(related, related.T, atol=1e-3) and np.linalg.eigvalsh(related)[0] > LEAST_EIGENVALUE
        require(is_possible, "correlation must be symmetric and positive definite")


@dataclass(frozen=True)
class Familiarity:
    """What scans like the training data look like, and how like the prototypes they are; None where unknown.

    Attributes:
        look: Of their intensities.
        likeness: Of their distances to the prototypes.
        n: Number of cases that this was learned from.
        least_certainty: Mean probability of tumour in the predicted tumour that nine of ten of those cases exceed.
    """

    look: Normality | None = None
    likeness: Normality | None = None
    n: int = 0
    least_certainty: float | None = field(default=None, metadata={"older": None})

    def __post_init__(self) -> None:
        """Refuse what is no number of cases and no probability."""
        require(self.n >= 0, f"n must be a number of cases, not {self.n}")
        least = self.least_certainty
        require(least is None or 0 <= least <= 1, f"least_certainty must lie between 0 and 1, not {least}")


@dataclass(frozen=True)
class Calibration:
    """Chosen on out-of-fold predictions, never on the cases they are reported on.

    Attributes:
        temperature: Per class; that of the class with the largest logit divides all logits of a voxel.
        minimum_et_ml: Enhancing tumour of less volume than this in a case becomes NCR.
        minimum_component_ml: Separate parts of the whole tumour smaller than this become background.
        reliability: Of WT, TC and ET; () where it was never measured.
        familiarity: What scans like the training data look like to the model; None where it was never measured.
    """

    temperature: tuple[float, ...] = (1.0,) * len(CLASSES)
    minimum_et_ml: float = 0.0
    minimum_component_ml: float = field(default=0.0, metadata={"older": 0.0})
    reliability: tuple[RegionReliability, ...] = field(default=(), metadata={"older": ()})
    familiarity: Familiarity | None = field(default=None, metadata={"older": None})

    def __post_init__(self) -> None:
        """Refuse temperatures that cannot divide the logits of the classes, and volumes below nothing."""
        coldest, hottest = TEMPERATURES
        require(
            len(self.temperature) == len(CLASSES) and all(coldest <= t <= hottest for t in self.temperature),
            f"temperature needs {len(CLASSES)} positive numbers (of {CLASSES}), {coldest} to {hottest}, "
            f"not {self.temperature}",
        )
        for name in ("minimum_et_ml", "minimum_component_ml"):
            require(getattr(self, name) >= 0, f"{name} must be a volume, not {getattr(self, name)}")
        regions = [known.region for known in self.reliability]
        require(len(set(regions)) == len(regions), f"reliability names a region twice: {', '.join(regions)}")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(K, ...) float32 logits -> probabilities: softmax, divided by the temperature of the class that leads."""
        leading = logits.max(axis=0)
        result = logits - leading
        if len(set(self.temperature)) == 1:
            result *= np.float32(1 / self.temperature[0])
        else:
            slope = np.empty_like(leading)
            for index in reversed(range(len(result))):  # the first of equals leads
                np.copyto(slope, np.float32(1 / self.temperature[index]), where=result[index] == 0)
            result *= slope
        np.exp(result, out=result)
        result /= result.sum(axis=0)
        return result
