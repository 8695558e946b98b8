"""How far to trust a region of a result: interval of its volume, expected Dice, calibration error; needs no torch.

``fit_reliability`` learns them from cases that the models had not seen; ``assess_region`` says them of one result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.volume import voxel_ml
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.calibration import RegionReliability
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.uncertainty import entropy

COVERAGE = 0.9
OFFSET_ML = 1.0
"""Added to volumes before their ratio is taken: an error of 0.1 ml counts little where 0.1 ml is all there is."""
BINS = 15
PENALTY = 0.1
"""Of the ridge regression, per case and on features of unit deviation."""
FEATURES = ("mean entropy", "mean probability", "log volume", "Dice expected from the probabilities")


@dataclass(frozen=True, eq=False)
class UnseenRegion:
    """One region of one case as a model that had not seen it predicts it.

    Attributes:
        region: WT, TC or ET.
        group: Number of the model; cases of one model are held out together.
        volume_ml: Predicted.
        truth_ml: The expert's.
        dice: Between the two; both empty counts 1.
        features: (4,) what ``FEATURES`` names; None where nothing is predicted.
        bins: (3, 15) voxels of the brain by probability of the region: number, sum of probability, number of true.
    """

    region: str
    group: int
    volume_ml: float
    truth_ml: float
    dice: float
    features: np.ndarray | None
    bins: np.ndarray


def observe_region(
    region: str, group: int, label: np.ndarray, probabilities: np.ndarray, truth: np.ndarray, affine: np.ndarray
) -> UnseenRegion:
    """Compare a prediction with the expert's label.

    Args:
        region: WT, TC or ET.
        group: Number of the model.
        label: (X, Y, Z) predicted class indices.
        probabilities: (4, X, Y, Z) calibrated; background is 1 outside the brain and nowhere else.
        truth: (X, Y, Z) true class indices.
        affine: 4x4, voxel -> RAS mm.
    """
    predicted, true = (np.isin(classes, REGIONS[region]) for classes in (label, truth))
    brain = probabilities[0] < 1
    return UnseenRegion(
        region=region,
        group=group,
        volume_ml=float(predicted.sum()) * voxel_ml(affine),
        truth_ml=float(true.sum()) * voxel_ml(affine),
        dice=dice(predicted, true),
        features=_features(region, label, probabilities, affine),
        bins=_bins(_probability(region, probabilities)[brain], true[brain]),
    )


def fit_reliability(observations: Sequence[UnseenRegion]) -> tuple[RegionReliability, ...]:
    """What the observations say of each region that occurs in them, in the order WT, TC, ET."""
    by_region = {region: [o for o in observations if o.region == region] for region in REGIONS}
    return tuple(_fit_region(region, found) for region, found in by_region.items() if found)


def assess_region(prediction: Prediction, region: str) -> dict[str, Any]:
    """What is known of a region of a result.

    Returns:
        ``volume_ml``; ``interval_ml`` [low, high], which holds the expert's volume in a share ``coverage`` of cases;
        ``n``, the cases this was measured on; ``predicted_dice`` with its mean absolute error ``dice_error``; ``ece``,
        the calibration error of the region's probability. None what the model does not say or, for the Dice, where
        nothing is predicted.

    Raises:
        ValueError: No such region.
    """
    if region not in REGIONS:
        raise ValueError(f"region: expected one of {', '.join(REGIONS)}, got {region!r}.")
    volume = prediction.volumes_ml[region]
    found = next((r for r in prediction.evidence.calibration.reliability if r.region == region), None)
    if found is None:
        unknown = ("interval_ml", "coverage", "n", "predicted_dice", "dice_error", "ece")
        return {"volume_ml": volume, **dict.fromkeys(unknown)}
    expected = None
    if found.dice_coefficients and volume > 0:
        features = _features(region, prediction.label, prediction.probabilities, prediction.affine)
        if features is not None:
            expected = round(_predicted_dice(found.dice_coefficients, features), 3)
    return {
        "volume_ml": volume,
        "interval_ml": volume_interval(volume, found.volume_quantile),
        "coverage": found.coverage,
        "n": found.n,
        "predicted_dice": expected,
        "dice_error": found.dice_error,
        "ece": found.ece,
    }


def short(dice: float) -> str:
    """A Dice as it is written: .62."""
    return f"{dice:.2f}".removeprefix("0")


def volume_interval(volume_ml: float, quantile: float | None) -> list[float] | None:
    """The true volumes whose score is at most ``quantile``: (V + c) e^(-q) - c to (V + c) e^q - c, not below 0."""
    if quantile is None:
        return None
    return [round(max(0.0, float((volume_ml + OFFSET_ML) * np.exp(q) - OFFSET_ML)), 2) for q in (-quantile, quantile)]


def conformal_quantile(scores: Sequence[float] | np.ndarray, coverage: float = COVERAGE) -> float | None:
    """The ceil((n + 1) coverage)-th smallest score: a new case's is not larger with this probability at least.

    Split-conformal prediction (Vovk et al. 2005; Lei et al. 2018, section 2.2), exact where the new case is drawn as
    the others were. None where there are too few scores (less than 9 for a coverage of 0.9).
    """
    rank = int(np.ceil((len(scores) + 1) * coverage - 1e-9))
    return float(np.sort(scores)[rank - 1]) if 0 < rank <= len(scores) else None


def expected_calibration_error(bins: np.ndarray) -> float:
    """Mean over voxels of |mean probability - share of true voxels| of their bin (Naeini et al. 2015); 0 if none.

    Args:
        bins: (3, B) number of voxels, sum of their probabilities, number of true ones.
    """
    return float(np.abs(bins[1] - bins[2]).sum() / max(bins[0].sum(), 1))


def _fit_region(region: str, found: Sequence[UnseenRegion]) -> RegionReliability:
    scores = np.array([abs(np.log((o.volume_ml + OFFSET_ML) / (o.truth_ml + OFFSET_ML))) for o in found])
    quantile = conformal_quantile(scores)
    predicted = [o for o in found if o.features is not None]
    coefficients, error = _fit_dice([o.features for o in predicted], [o.dice for o in predicted])
    return RegionReliability(
        region=region,
        n=len(found),
        ece=round(expected_calibration_error(np.sum([o.bins for o in found], axis=0)), 5),
        volume_quantile=None if quantile is None else round(quantile, 5),
        coverage=COVERAGE,
        measured_coverage=_measured_coverage(scores, np.array([o.group for o in found])),
        dice_coefficients=coefficients,
        dice_error=error,
    )


def _measured_coverage(scores: np.ndarray, groups: np.ndarray) -> float | None:
    """Share of cases within the quantile of the cases of all other models, or of all other cases of a single model.

    With single cases held out this is ceil(0.9 n) / n by construction; with models it is a measurement.
    """
    if len(set(groups.tolist())) == 1:
        groups = np.arange(len(scores))
    inside = []
    for group in set(groups.tolist()):
        quantile = conformal_quantile(scores[groups != group])
        if quantile is None:
            return None
        inside.append(scores[groups == group] <= quantile)
    return round(float(np.concatenate(inside).mean()), 4)


def _fit_dice(features: Sequence[np.ndarray | None], dices: Sequence[float]) -> tuple[tuple[float, ...], float | None]:
    """Intercept and one coefficient per feature, and the mean absolute error on cases left out one at a time.

    Where the features do not help on left-out cases, the coefficients are 0 and the intercept the mean Dice.
    """
    x, y = np.array(features, float), np.array(dices, float)
    if len(y) < 3:
        return (), None
    others = [np.arange(len(y)) != i for i in range(len(y))]
    by_mean = np.mean([abs(y[rest].mean() - y[~rest][0]) for rest in others])
    found = [_predicted_dice(_ridge(x[rest], y[rest]), x[~rest][0]) for rest in others]
    by_features = np.mean(np.abs(np.array(found) - y))
    constant = (float(y.mean()), *np.zeros(len(FEATURES)))
    best = _ridge(x, y) if by_features < by_mean else constant
    return tuple(round(float(c), 6) for c in best), round(float(min(by_features, by_mean)), 4)


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[float, ...]:
    """Ridge regression on standardised features (Hoerl and Kennard 1970); coefficients for the features as they are."""
    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    z = (x - centre) / scale
    slopes = np.linalg.solve(z.T @ z + PENALTY * len(y) * np.eye(x.shape[1]), z.T @ (y - y.mean())) / scale
    return (float(y.mean() - slopes @ centre), *slopes.tolist())


def _predicted_dice(coefficients: Sequence[float], features: np.ndarray) -> float:
    return float(np.clip(coefficients[0] + np.dot(coefficients[1:], features), 0, 1))


def _features(region: str, label: np.ndarray, probabilities: np.ndarray, affine: np.ndarray) -> np.ndarray | None:
    """(4,) as ``FEATURES`` names them; None where the predicted region is empty."""
    members = REGIONS[region]
    # Flat, i fastest, as results lie in memory: a view.
    flat = np.flatnonzero(_is_in(label, members).ravel(order="F"))
    if not flat.size:
        return None
    inside = np.stack([channel.ravel(order="F")[flat] for channel in probabilities])
    in_region = float(inside[list(members)].sum(dtype=np.float64))
    everywhere = float(sum(probabilities[index].sum() for index in members))
    return np.array(
        [
            float(entropy(inside).mean()),
            in_region / flat.size,
            float(np.log(flat.size * voxel_ml(affine) + OFFSET_ML)),
            2 * in_region / (flat.size + everywhere),
        ]
    )


def _is_in(label: np.ndarray, members: Sequence[int]) -> np.ndarray:
    """As ``np.isin``, but faster."""
    found = label == members[0]
    for index in members[1:]:
        found |= label == index
    return found


def _probability(region: str, probabilities: np.ndarray) -> np.ndarray:
    total: np.ndarray = probabilities[list(REGIONS[region])].sum(axis=0)
    return total


def _bins(probability: np.ndarray, true: np.ndarray) -> np.ndarray:
    place = np.clip((probability * BINS).astype(int), 0, BINS - 1)
    return np.stack([np.bincount(place, weights, BINS) for weights in (None, probability, true)])
