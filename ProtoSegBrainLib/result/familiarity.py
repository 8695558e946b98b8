"""Is a scan like those that the model learned from? From its intensities and its similarities; needs no torch.

``look_of`` measures the prepared images, ``likeness_of`` how near their voxels come to the prototypes, if the model has
any, and how sure of the tumour it is. Either is held against cases that the models had not seen. The first finds what a
network trained with noise and missing modalities hides, as it answers as if nothing were wrong; the second what no
simple measure of an image foresees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, listed
from ProtoSegBrainLib.network.calibration import Familiarity, Normality
from ProtoSegBrainLib.network.evidence import Evidence
from ProtoSegBrainLib.result.prediction import Prediction

FALSE_ALARMS = 0.02
"""Share of scans like the training data that may lie beyond the limit of their look, and again of their likeness."""
SHRINKAGE = 0.2
"""Of the correlations between measures towards 0: there are about as many measures as cases."""
UNCERTAIN = 0.1
"""Share of those scans whose tumour is marked with less certainty than the limit: a healthy brain looks like them."""
LEAST_CASES = 10
MOST_MISSING = 0.5
"""Share of the brain in which a modality may be 0 (another field of view)."""
MOST_REASONS = 3
SAID_TOGETHER = ("noise", "asymmetry")
"""Measures of one modality each; those of several go into one sentence."""
REMARKABLE = 2.0
"""Standard deviations from which a single measure is named as a reason."""
HARMLESS_LOW = ("distance", "noise")
"""Measures of which less is never unlike; of the next, more. Thick slices are smooth and cost next to nothing."""
HARMLESS_HIGH = ("tumour_share", "tumour_certainty")
RATIOS = ("brain_ml", "noise", "distance", "tumour_share")
"""Measures that are compared by their ratio, so by their logarithm."""
SIMULATED = "This case is simulated, no patient."
SMALLEST = 1e-4
LEAST_DEVIATION = 1e-3


def look_of(images: np.ndarray) -> dict[str, float]:
    """What the prepared images look like, before any network.

    Args:
        images: (4, X, Y, Z) z-scored inside the brain, 0 outside it, on a grid of 1 mm.

    Returns:
        brain_ml: Volume in which any modality is not 0.
        missing.M: Share of the brain in which modality M is 0.
        noise.M: Median of |second difference| between neighbouring voxels.
        asymmetry.M: (p95 + p5 - 2 p50) / (p95 - p5) of the intensities; changes its sign with the contrast.
        correlation.M.N: Of the intensities of two modalities.
    """
    coarse = np.asarray(images[:, ::2, ::2, ::2], np.float32)
    inside = (coarse != 0).any(axis=0)
    values = coarse[:, inside]
    look = {"brain_ml": float(np.count_nonzero(inside)) * 8 / 1000}
    with ThreadPoolExecutor(len(MODALITIES)) as pool:
        for own in pool.map(_look_of_modality, MODALITIES, values, images):
            look |= own
    related = _correlations(values)
    for (i, first), (j, second) in itertools.combinations(enumerate(MODALITIES), 2):
        look[f"correlation.{first}.{second}"] = float(related[i, j])
    return look


def _look_of_modality(name: str, values: np.ndarray, image: np.ndarray) -> dict[str, float]:
    own = values[values != 0]
    missing = 1 - own.size / max(values.size, 1)
    return {f"missing.{name}": missing, f"noise.{name}": _noise(image), f"asymmetry.{name}": _asymmetry(own)}


def likeness_of(distance: Volume | None, label: Volume, background: Volume) -> dict[str, float]:
    """How near the voxels come to the prototypes, over the brain and over the predicted tumour, and how sure that is.

    Args:
        distance: Squared distance to the nearest prototype, on the prototype grid; None for a model without prototypes,
            of which the tumour alone is measured.
        label: Predicted classes, on any grid.
        background: Calibrated probability of background on that grid; 1 outside the brain and nowhere else.

    Returns:
        distance.brain.50, .90: Percentiles over the brain.
        distance.tumour.50: Median over the predicted tumour; 0 where that is empty, as tumour_share already says so.
        tumour_share: Of the brain.
        tumour_certainty: Mean probability of tumour in the predicted tumour; 1 where that is empty.
    """
    grid = label if distance is None else distance
    brain = _nearest(Volume(background.array < 1, background.affine), grid)
    tumour = brain & (_nearest(label, grid) > 0)
    likeness = {} if distance is None else _distances(distance.array, brain, tumour)
    if not tumour.any():
        return likeness | {"tumour_share": 0.0, "tumour_certainty": 1.0}
    return likeness | {
        "tumour_share": float(tumour.sum()) / float(brain.sum()),
        "tumour_certainty": 1 - float(_nearest_values(background, np.argwhere(tumour), grid.affine).mean()),
    }


def _distances(distance: np.ndarray, brain: np.ndarray, tumour: np.ndarray) -> dict[str, float]:
    near = distance[brain]
    median, high = np.percentile(near, (50, 90)) if near.size else (0.0, 0.0)
    in_tumour = float(np.median(distance[tumour])) if tumour.any() else 0.0
    return {"distance.brain.50": float(median), "distance.brain.90": float(high), "distance.tumour.50": in_tumour}


def nearest_distance(evidence: Evidence, similarities: np.ndarray) -> np.ndarray | None:
    """(P, x, y, z) similarities -> squared distance to the nearest learned prototype (x, y, z); None without any."""
    learned = similarities[: evidence.n_learned]
    return evidence.distances(learned.max(axis=0)) if len(learned) else None


def fit_familiarity(looks: Sequence[Mapping[str, float]], likenesses: Sequence[Mapping[str, float]]) -> Familiarity:
    """From the measures of cases that the models had not seen; knows nothing with less than ten cases."""
    if len(looks) < LEAST_CASES:
        return Familiarity(n=len(looks))
    kept = [{name: value for name, value in look.items() if not name.startswith("missing")} for look in looks]
    least = float(np.quantile([likeness["tumour_certainty"] for likeness in likenesses], UNCERTAIN))
    return Familiarity(fit_normality(kept), fit_normality(likenesses), len(looks), round(least, 4))


def fit_normality(cases: Sequence[Mapping[str, float]]) -> Normality:
    """Centre, spread and correlations of measures, and the Mahalanobis distance that few of the cases exceed.

    Each case's own distance is taken from the others, so that it does not widen its own limit. The limit is their
    conformal quantile, with few cases the largest.
    """
    names = tuple(cases[0])
    values = np.array([[_scaled(name, case[name]) for name in names] for case in cases])
    others = (_normality(names, np.delete(values, index, axis=0)) for index in range(len(values)))
    distances = [unusualness(normality, case) for normality, case in zip(others, cases, strict=True)]
    rank = min(int(np.ceil((len(cases) + 1) * (1 - FALSE_ALARMS))), len(cases))
    return _normality(names, values, round(float(np.sort(distances)[rank - 1]), 4))


def unusualness(normality: Normality, measured: Mapping[str, float]) -> float:
    """Mahalanobis distance of the measures from the centre, per measure, in units of the limit.

    D² = z' C^-1 z / d, where z are the measures in standard deviations and C their correlations, shrunk towards those
    of independent measures (Ledoit and Wolf 2004, with a fixed share). Deviations to a harmless side count 0.
    """
    z = _deviations(normality, measured)
    return float(np.sqrt(z @ np.linalg.solve(np.array(normality.correlation), z) / len(z)) / normality.limit)


def assess(prediction: Prediction) -> dict[str, Any]:
    """Whether a scan is unlike the training data.

    Returns:
        ``flag``: True if it is, None where the model does not know. ``score``: how unusual the scan is; 1 is the
        limit. ``reasons``: what is unlike. ``sentence``: all of it in words, and whether the case is simulated.
    """
    said = _held_against_the_known(prediction)
    return {**said, "sentence": f"{SIMULATED} {said['sentence']}"} if prediction.simulated else said


def _held_against_the_known(prediction: Prediction) -> dict[str, Any]:
    evidence = prediction.evidence
    known = evidence.calibration.familiarity
    if known is None or known.likeness is None:
        sentence = "Whether this scan is like the training data is not known: the model was not calibrated for it."
        return {"flag": None, "score": None, "reasons": [], "sentence": sentence}
    distance = nearest_distance(evidence, prediction.similarities)
    nearest = None if distance is None else Volume(distance, prediction.similarity_affine)
    label, background = (Volume(a, prediction.affine) for a in (prediction.label, prediction.probabilities[0]))
    return judge(known, prediction.look, likeness_of(nearest, label, background))


def judge(known: Familiarity, look: Mapping[str, float], likeness: Mapping[str, float]) -> dict[str, Any]:
    """What ``assess`` returns, from the measures; an incomplete ``look`` (of older versions) is not judged."""
    missing = {name: share / MOST_MISSING for name, share in look.items() if name.startswith("missing")}
    scores = [*missing.values()]
    reasons = [_reason(name, look[name]) for name, score in missing.items() if score > 1]
    for normality, measured in ((known.look, look), (known.likeness, likeness)):
        if normality is None or not set(normality.measures) <= set(measured):
            continue
        scores.append(unusualness(normality, measured))
        if scores[-1] > 1 and not reasons:
            reasons = _reasons(normality, measured)
    if known.least_certainty is not None:
        certainty = likeness["tumour_certainty"]
        scores.append((1 - certainty) / max(1 - known.least_certainty, LEAST_DEVIATION))
        if scores[-1] > 1 and not reasons:
            reasons = [_reason("tumour_certainty", certainty)]
    score, reasons = max(scores, default=0.0), reasons[:MOST_REASONS]
    if score <= 1:
        sentence = f"This scan is like those that the model learned from (held against {known.n} of them)."
    else:
        sentence = f"This scan is unlike the training data: {'; '.join(reasons)}."
    return {"flag": score > 1, "score": round(score, 3), "reasons": reasons, "sentence": sentence}


def _nearest(volume: Volume, grid: Volume) -> np.ndarray:
    """As ``resample``, but with the axes turned round: results lie in memory with i fastest, numpy likes k fastest."""
    turned = np.eye(4)[:, [2, 1, 0, 3]]
    source = Volume(volume.array.transpose(2, 1, 0), volume.affine @ turned)
    return resample(source, grid.shape[::-1], grid.affine @ turned, order=0).array.transpose(2, 1, 0)


def _nearest_values(volume: Volume, voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Of a volume at the centres of the voxels (n, 3) of another grid; for few voxels faster than ``resample``."""
    index = np.linalg.inv(volume.affine) @ affine @ np.vstack([voxels.T, np.ones(len(voxels))])
    i, j, k = (np.clip(np.rint(row).astype(int), 0, n - 1) for row, n in zip(index, volume.shape, strict=False))
    return volume.array[i, j, k]


def _noise(image: np.ndarray) -> float:
    """Median |a - 2 b + c| of neighbours along the first axis, of every 32nd line; 0 for an empty image."""
    lines = np.asarray(image[:, ::4, ::8], np.float32)
    before, centre, after = lines[:-2], lines[1:-1], lines[2:]
    own = (before != 0) & (centre != 0) & (after != 0)
    return float(np.median(np.abs(2 * centre[own] - before[own] - after[own]))) if own.any() else 0.0


def _asymmetry(values: np.ndarray) -> float:
    if not values.size:
        return 0.0
    low, middle, high = (float(p) for p in np.percentile(values[::2], (5, 50, 95)))
    return (high + low - 2 * middle) / max(high - low, 1e-6)


def _correlations(values: np.ndarray) -> np.ndarray:
    """(4, 4) of (4, n); 0 with an image that is constant."""
    centred = values - values.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    unit = centred / np.maximum(norm, 1e-6)
    related: np.ndarray = unit @ unit.T
    return related


def _scaled(name: str, value: float) -> float:
    return float(np.log(max(value, SMALLEST))) if name.startswith(RATIOS) else value


def _normality(names: tuple[str, ...], values: np.ndarray, limit: float = 1.0) -> Normality:
    centre = np.median(values, axis=0)
    deviation = np.maximum(values.std(axis=0), LEAST_DEVIATION)
    z = (values - values.mean(axis=0)) / deviation
    correlation = (1 - SHRINKAGE) * z.T @ z / len(z) + SHRINKAGE * np.eye(len(names))
    rows = tuple(tuple(np.round(row, 5).tolist()) for row in correlation)
    return Normality(names, tuple(np.round(centre, 6).tolist()), tuple(np.round(deviation, 6).tolist()), rows, limit)


def _deviations(normality: Normality, measured: Mapping[str, float]) -> np.ndarray:
    """Of each measure, in standard deviations; 0 towards a harmless side."""
    scaled = np.array([_scaled(name, measured[name]) for name in normality.measures])
    z = (scaled - np.array(normality.centre)) / np.array(normality.deviation)
    harmless_low = np.array([name.startswith(HARMLESS_LOW) for name in normality.measures])
    harmless_high = np.array([name.startswith(HARMLESS_HIGH) for name in normality.measures])
    return np.where(((z < 0) & harmless_low) | ((z > 0) & harmless_high), 0, z)


def _reasons(normality: Normality, measured: Mapping[str, float]) -> list[str]:
    """What is unlike: what would make the scan familiar, else the most unusual measures."""
    guesses = [(unusualness(normality, changed), guess) for guess, changed in _remedies(measured)]
    least, guess = min(guesses, default=(np.inf, ""))
    if least <= 1:
        return [guess]
    z = _deviations(normality, measured)
    order = [i for i in np.argsort(-np.abs(z), kind="stable") if abs(z[i]) >= REMARKABLE]
    alike: dict[tuple[str, bool], list[str]] = {}
    for i in order:
        name, is_low = normality.measures[i], bool(z[i] < 0)
        kind = name.split(".")[0]
        alike.setdefault((kind if kind in SAID_TOGETHER else name, is_low), []).append(name)
    reasons = [_reason(_together(names), measured[names[0]], is_low) for (_, is_low), names in alike.items()]
    return reasons or ["its measures are each within what is usual, but not together"]


def _remedies(look: Mapping[str, float]) -> Iterator[tuple[str, dict[str, float]]]:
    """What may have happened to the images, and what their look would be without it."""
    if "brain_ml" not in look:
        return
    for order in itertools.permutations(MODALITIES):
        moved = [MODALITY_NAMES[name] for name, source in zip(MODALITIES, order, strict=True) if name != source]
        if moved:
            yield f"{listed(moved)} seem to be exchanged", exchanged(look, dict(zip(MODALITIES, order, strict=True)))
    inverted = {name: -value if name.startswith("asymmetry") else value for name, value in look.items()}
    yield "the contrast seems to be inverted (dark is bright)", inverted


def exchanged(look: Mapping[str, float], source: Mapping[str, str]) -> dict[str, float]:
    """The look of the images if modality M were the image now at ``source[M]``."""
    result = {}
    for name in look:
        kind, *parts = name.split(".")
        sources = sorted((source[part] for part in parts), key=MODALITIES.index)
        result[name] = look[".".join((kind, *sources))]
    return result


def _together(names: Sequence[str]) -> str:
    """One name for a measure of several modalities, ``noise.t1n.t2w``."""
    kind, *_ = names[0].split(".")
    return names[0] if len(names) == 1 else ".".join([kind, *(m for m in MODALITIES if f"{kind}.{m}" in names)])


def _reason(name: str, value: float, is_low: bool = False) -> str:
    """What is unlike about one measure, in words."""
    kind, *parts = name.split(".")
    modalities = listed([MODALITY_NAMES.get(part, part) for part in parts])
    be, have = ("are", "have") if len(parts) > 1 else ("is", "has")
    where = "the predicted tumour" if parts[:1] == ["tumour"] else "the brain"
    size, question = ("small", "is a part cut off") if is_low else ("large", "was the skull removed")
    return {
        "brain_ml": f"the brain of {value:.0f} ml is {size} ({question}?)",
        "missing": f"{modalities} is empty in {value:.0%} of the brain",
        "noise": f"{modalities} {be} unusually {'smooth' if is_low else 'noisy'}",
        "asymmetry": f"{modalities} {have} an unusual contrast",
        "correlation": f"{modalities} go together unusually",
        "tumour_share": f"hardly any tumour was found ({value:.1%} of the brain), unlike in all training cases",
        "tumour_certainty": f"the model is unsure of the tumour that it marked (mean probability {value:.2f})",
        "distance": f"{where} is less like the prototypes than usual (distance {value:.2f})",
    }[kind]
