"""What a follow-up measures where the truth is known: simulated patients whose tumour grew, shrank, or stayed.

The later head is laid otherwise and scanned with another noise and scale. A change agrees where it is off by at most
10 % of the true volume at the earlier date, or by .5 ml.

    python benchmarks/follow_up.py --patients 10
    python benchmarks/follow_up.py --patients 0 --pairs DIR...    # folders of cases: is each pair of one head?
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ProtoSegBrainLib.followup.follow import FollowConfig, FollowUp, follow
from ProtoSegBrainLib.followup.motion import register
from ProtoSegBrainLib.followup.visit import Visit
from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.predict import predict
from ProtoSegBrainLib.simulation.two_dates import TwoDates, TwoDatesConfig, simulate_two_dates

GROWTH = (1.0, 1.6, 0.5, 2.5, 0.75, 1.25, 1.0, 0.3, 1.0, 2.0)
"""Of the tumour's volume, in turn."""
SHARE, LEAST_ML = 0.10, 0.5


@dataclass(frozen=True)
class Measured:
    """A patient: true and measured change in ml by region, and how far off the registration is at the corners."""

    growth: float
    true_ml: dict[str, float]
    change_ml: dict[str, float]
    agrees: dict[str, bool]
    is_beyond: dict[str, bool | None]
    thresholds: int
    off_mm: float
    seconds: float


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10, help="simulated ones; seeds from 100")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="folders of cases, all compared in pairs")
    options = parser.parse_args()
    model = load_model(None)
    found = []
    for n in tqdm(range(options.patients)):
        dates = simulate_two_dates(100 + n, config=TwoDatesConfig(growth=GROWTH[n % len(GROWTH)]))
        found.append(measure(dates, [predict(dates.earlier, model), predict(dates.later, model)]))
    if found:
        print("\n".join([*table(found), "", *summary(found)]))
    if options.pairs:
        print("\n".join(pairs([read_case(files) for folder in options.pairs for files in list_cases(folder)])))


def measure(dates: TwoDates, predictions: Sequence[Prediction]) -> Measured:
    """Compare what is measured with what is true."""
    visits = [Visit(case, made) for case, made in zip((dates.earlier, dates.later), predictions, strict=True)]
    started = time.process_time()
    found = follow(visits)
    seconds = time.process_time() - started
    true = {name: after - before for name, (before, after) in dates.volumes_ml.items()}
    change = {name: found.regions[name].change_ml[1] for name in REGIONS}
    allowed = {name: max(SHARE * before, LEAST_ML) for name, (before, _) in dates.volumes_ml.items()}
    return Measured(
        growth=0.0 if not dates.volumes_ml["WT"][0] else dates.volumes_ml["WT"][1] / dates.volumes_ml["WT"][0],
        true_ml=true,
        change_ml=change,
        agrees={name: abs(change[name] - true[name]) <= allowed[name] for name in REGIONS},
        is_beyond={name: found.regions[name].is_beyond_interval[1] for name in REGIONS},
        thresholds=_passed(found),
        off_mm=_off_mm(found.registrations[1].motion, dates),
        seconds=seconds,
    )


def _passed(found: FollowUp) -> int:
    """How many thresholds are said to be passed."""
    return sum(len(found.regions[name].thresholds[1]) for name in REGIONS) + len(found.diameters.thresholds[1])


def _off_mm(motion: np.ndarray, dates: TwoDates) -> float:
    """The largest error at the corners of the brain's box."""
    inside = np.argwhere(dates.later.brain)
    low, high = inside.min(axis=0), inside.max(axis=0)
    corners = np.array([[*corner, 1] for corner in itertools.product(*zip(low, high, strict=True))]).T
    off = (motion - dates.motion) @ dates.later.affine @ corners
    return float(np.linalg.norm(off[:3], axis=0).max())


def table(found: Sequence[Measured]) -> list[str]:
    """A row for each patient."""
    heads = " | ".join(f"{name}, ml: true, measured" for name in REGIONS)
    lines = [f"| growth | {heads} | beyond the interval | thresholds | registration off, mm |", "|" + "---|" * 7]
    for each in found:
        changes = [
            f"{each.true_ml[name]:+.1f}, {each.change_ml[name]:+.1f}{'' if each.agrees[name] else ' (off)'}"
            for name in REGIONS
        ]
        beyond = ", ".join(name for name in REGIONS if each.is_beyond[name]) or "none"
        cells = [f"{each.growth:.2f}", *changes, beyond, str(each.thresholds), f"{each.off_mm:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def summary(found: Sequence[Measured]) -> list[str]:
    """How often measured and true change agree, and what is said where nothing changed."""
    lines = [f"{name}: {sum(each.agrees[name] for each in found)} of {len(found)} changes agree" for name in REGIONS]
    same = [each for each in found if not any(each.true_ml.values())]
    quiet = [each for each in same if not any(each.is_beyond.values()) and not each.thresholds]
    lines.append(f"{len(quiet)} of {len(same)} patients without change are called unchanged")
    lines.append(f"registration off by {max(each.off_mm for each in found):.2f} mm at most")
    lines.append(f"follow: {np.median([each.seconds for each in found]):.1f} processor seconds (median)")
    return lines


def pairs(cases: Sequence[Case]) -> list[str]:
    """Overlap and likeness of each pair; the visits' results do not matter for it."""
    config = FollowConfig()
    lines = ["| earlier | later | overlap | likeness | one head? |", "|---|---|---|---|---|"]
    model = load_model(None)
    visits = [Visit(case, predict(case, model)) for case in cases]
    for one, other in itertools.combinations(visits, 2):
        found = register(other, one, config.least_overlap, config.least_likeness)
        names = f"{one.case.case_id} | {other.case.case_id}"
        said = "yes" if found.is_same_head else "no"
        lines.append(f"| {names} | {found.overlap:.3f} | {found.likeness:.2f} | {said} |")
    return lines


if __name__ == "__main__":
    main()
