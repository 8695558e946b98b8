"""What pointing gives: a simulated user clicks into the middle of the largest wrong piece, again and again.

The cases must be ones that the model has not seen. With one model, how far a point reaches is chosen for each patient
on all others (leave one out) among ``SETTINGS``, at 2 mm, of those with which at most one click in twenty does harm,
and reported on that patient at full resolution; with ``--settings default`` the defaults are taken as they are. Folds
of a training are given as several models.

    python benchmarks/pointing.py --data CASES --out OUT
    python benchmarks/pointing.py --data DATA --splits DATA/splits.json --models RUNS/fold_*/model.safetensors --out OUT
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from ProtoSegBrainLib.correction.embedding import Embedding, embedding_of
from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.correction.teach import TeachConfig, taught_by, teach, with_points
from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.predict import predict
from ProtoSegBrainLib.training.train import read_split

CLICKS = 10
WORSE = 0.005
MOST_HARM = 0.05
"""Share of the clicks that may make other patients worse with a setting that is chosen."""
CHOSEN_AFTER = (1, 2, 3, 5)
"""Clicks after which the mean Dice is what settings are chosen by."""
DEFAULT = TeachConfig()
SETTINGS = [
    *(replace(DEFAULT, sigma_mm=sigma, margin=m) for sigma in (10.0, 15.0, 20.0, 30.0) for m in (2.0, 4.0, 6.0)),
    *(replace(DEFAULT, reach=reach, epsilon=e) for reach in (0.5, 1.0, 1.5) for e in (0.05, 0.1, 0.3)),
    *(replace(DEFAULT, apart=share) for share in (0.35, 0.7)),
    *(replace(DEFAULT, apart=1000.0, margin=m) for m in (4.0, 6.0)),  # as if no two points contradicted each other
    replace(DEFAULT, sigma_mm=1000.0),  # no Gaussian
]


@dataclass(frozen=True, eq=False)
class Seen:
    """A case and what its model, which had not seen it, makes of it; at 2 mm the truth and the brain, too."""

    case: Case
    prediction: Prediction
    embedding: Embedding
    truth: np.ndarray
    brain: np.ndarray


def main() -> None:
    """Measure, print the tables, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled cases")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=Path, nargs="+", help="fold by fold (default: the bundled weights)")
    parser.add_argument("--splits", type=Path, help="which cases each of the models has not seen")
    parser.add_argument("--settings", choices=("chosen", "default"), default="chosen")
    options = parser.parse_args()
    cases = [seen(*each) for each in tqdm(list(_cases(options)), desc="segmenting")]
    chosen = _chosen(cases, options.out) if options.settings == "chosen" else [DEFAULT] * len(cases)
    curves = [full_curve(each, config) for each, config in zip(tqdm(cases, desc="pointing"), chosen, strict=True)]
    print(as_table([scores for scores, _ in curves]))
    print(f"seconds for a click, median: {np.median([s for _, seconds in curves for s in seconds]):.2f}")
    options.out.mkdir(parents=True, exist_ok=True)
    found = [
        {"case_id": each.case.case_id, "scores": scores, "seconds": seconds, "settings": asdict(config)}
        for each, (scores, seconds), config in zip(cases, curves, chosen, strict=True)
    ]
    (options.out / "pointing.json").write_text(json.dumps(found, indent=1) + "\n")


def _cases(options: argparse.Namespace) -> Iterator[tuple[Case, Path | None]]:
    files = {each.case_id: each for each in list_cases(options.data)}
    if not options.models:
        yield from ((read_case(each), None) for each in files.values())
        return
    for fold, model in enumerate(options.models):
        for case_id in read_split(options.splits, str(fold))[1]:
            yield read_case(files[case_id]), model


def seen(case: Case, weights: Path | None) -> Seen:
    """Segment a case, and bring its truth to the prototypes' grid."""
    model = load_model(weights)
    prediction, embedding = predict(case, model), embedding_of(case, model)
    shape, affine = embedding.vectors.shape[1:], embedding.affine
    assert case.label is not None
    truth = resample(Volume(case.label, case.affine), shape, affine, order=0).array
    brain = resample(Volume(case.brain.astype(np.uint8), case.affine), shape, affine, order=0).array > 0
    return Seen(case, prediction, embedding, truth, brain)


def click(label: np.ndarray, truth: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> Point | None:
    """The middle (the voxel farthest from what is right) of the largest piece of one class that has another label."""
    largest, piece, owner = 0, None, 0
    for index in range(len(CLASSES)):
        pieces, count = ndimage.label((truth == index) & (label != index) & brain)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        if count and sizes.max() > largest:
            largest, piece, owner = int(sizes.max()), pieces == sizes.argmax() + 1, index
    if piece is None:
        return None
    deepest = np.unravel_index(ndimage.distance_transform_edt(piece).argmax(), piece.shape)
    r, a, s = (float(n) for n in affine[:3, :3] @ deepest + affine[:3, 3])
    return Point((r, a, s), CLASSES[owner])


def coarse_curve(each: Seen, config: TeachConfig) -> list[float]:
    """Mean Dice of the three regions after 0, 1, ... clicks, at 2 mm and without the rules on volumes."""
    before, points = each.prediction, []
    label = before.evidence.logits(before.similarities).argmax(axis=0) * each.brain
    curve = [float(np.mean(list(scores_of(label, each.truth).values())))]
    for _ in range(max(CHOSEN_AFTER)):
        point = click(label, each.truth, each.brain, each.embedding.affine)
        if point is None:
            return curve + [curve[-1]] * (max(CHOSEN_AFTER) + 1 - len(curve))
        points.append(point)
        taught = taught_by(before, each.embedding, points, config)
        evidence, similarities = with_points(before, each.embedding, taught, config)
        label = evidence.logits(similarities).argmax(axis=0) * each.brain
        curve.append(float(np.mean(list(scores_of(label, each.truth).values()))))
    return curve


def full_curve(each: Seen, config: TeachConfig) -> tuple[list[dict[str, float]], list[float]]:
    """Dice of each region after 0, 1, ... clicks on the case's grid, and the seconds that each click took."""
    current, truth = each.prediction, each.case.label
    scores, seconds = [scores_of(current.label, truth)], []
    for _ in range(CLICKS):
        point = click(current.label, truth, each.case.brain, each.case.affine)
        if point is not None:
            started = time.perf_counter()
            current = teach(current, each.embedding, [point], config=config)
            seconds.append(time.perf_counter() - started)
        scores.append(scores_of(current.label, truth))
    return scores, seconds


def scores_of(label: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {name: dice(np.isin(label, members), np.isin(truth, members)) for name, members in REGIONS.items()}


def _chosen(cases: Sequence[Seen], out: Path) -> list[TeachConfig]:
    """For each case the settings that are best on all others; the table of all is written."""
    values = np.array(
        [[coarse_curve(each, config) for each in cases] for config in tqdm(SETTINGS, desc="settings")]
    )  # settings, cases, clicks
    by_case = values[:, :, list(CHOSEN_AFTER)].mean(axis=2)
    out.mkdir(parents=True, exist_ok=True)
    worse = (np.diff(values, axis=2) < -WORSE).mean(axis=(1, 2))
    lines = [
        "| epsilon | reach | sigma, mm | margin | apart | " + " | ".join(f"after {n}" for n in range(6)) + " | worse |"
    ]
    lines += ["|" + "---|" * 12]
    for config, mean, share in zip(SETTINGS, values.mean(axis=1), worse, strict=True):
        said = (config.epsilon, config.reach, config.sigma_mm, config.margin, config.apart)
        lines.append("| " + " | ".join([*(f"{n:g}" for n in said), *(f"{n:.4f}" for n in mean), f"{share:.1%}"]) + " |")
    (out / "settings.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    harm = (np.diff(values, axis=2) < -WORSE).mean(axis=2)
    chosen = []
    for n in range(len(cases)):
        others, harmed = (np.delete(part, n, axis=1).mean(axis=1) for part in (by_case, harm))
        chosen.append(SETTINGS[int(np.where(harmed <= MOST_HARM, others, -1).argmax())])
    return chosen


def as_table(curves: Sequence[Sequence[dict[str, float]]]) -> str:
    """Mean and median over the cases after so many clicks, and how many clicks made a case worse."""
    lines = [f"| clicks (n = {len(curves)}) | WT | TC | ET | mean of the three | median | cases worse by this click |"]
    lines.append("|---|---|---|---|---|---|---|")
    means = np.array([[np.mean(list(scores.values())) for scores in curve] for curve in curves])
    for n in range(means.shape[1]):
        regions = [np.mean([curve[n][name] for curve in curves]) for name in REGIONS]
        worse = "" if n == 0 else str(int((means[:, n] < means[:, n - 1] - WORSE).sum()))
        numbers = [*regions, means[:, n].mean(), np.median(means[:, n])]
        lines.append("| " + " | ".join([str(n), *(f"{value:.3f}" for value in numbers), worse]) + " |")
    changes = np.diff(means, axis=1)
    lines += ["", f"{(changes < -WORSE).mean():.1%} of {changes.size} clicks made a case worse by more than {WORSE}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
