"""Which scans are flagged as unlike the training data? Held-out cases as they are, the same spoilt, and healthy brains.

Each case goes through ``predict`` with the model of ``RUNS/fold_K`` that did not train on it, whose limits were chosen
on the other folds.

    python benchmarks/unfamiliar.py --data DATA --splits DATA/splits.json --runs RUNS --out RUNS/scores
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.segmentation.predict import predict
from ProtoSegBrainLib.simulation.simulate import SimulationConfig, simulate_case
from ProtoSegBrainLib.training.train import read_split

SHUFFLES = {
    "T2 and FLAIR exchanged": (0, 1, 3, 2),
    "T1 and T1ce exchanged": (1, 0, 2, 3),
    "all four shuffled": (2, 3, 0, 1),
}
SKULL_MM, SCALP_MM = 5.0, 12.0


def main() -> None:
    """Measure, print the table, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--splits", "--runs", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--spoilt", type=int, default=5, help="held-out cases per fold that are spoilt (default: 5)")
    parser.add_argument("--healthy", type=int, default=3, help="healthy simulated brains per fold (default: 3)")
    options = parser.parse_args()
    cases = {case.case_id: case for case in list_cases(options.data)}
    found: dict[str, list[dict[str, object]]] = {}
    for path in sorted(options.runs.glob("fold_*/model.safetensors")):
        model = load_model(path)
        held_out = read_split(options.splits, path.parent.name.removeprefix("fold_"))[1]
        for number, case_id in enumerate(tqdm(held_out, desc=path.parent.name)):
            case = read_case(cases[case_id], with_label=False)
            variants = spoilt(case) if number < options.spoilt else iter(())
            for name, variant in [("as it is", case), *variants]:
                found.setdefault(name, []).append(predict(variant, model).findings["out_of_distribution"])
        for seed in range(1, options.healthy + 1):
            healthy = simulate_case(seed, config=SimulationConfig(tumour=None))
            found.setdefault("healthy, simulated", []).append(predict(healthy, model).findings["out_of_distribution"])
    print(as_table(found))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "unfamiliar.json").write_text(json.dumps(found, indent=1) + "\n")


def spoilt(case: Case) -> Iterator[tuple[str, Case]]:
    """The same case with faults that scans really have."""
    rng = np.random.default_rng(0)
    brain = case.images.any(axis=0)
    own = [image[image != 0] for image in case.images]
    for index, role in enumerate(MODALITIES):
        without = case.images.copy()
        without[index] = 0
        yield f"without {MODALITY_NAMES[role]}", replace(case, images=without)
    for name, order in SHUFFLES.items():
        yield name, replace(case, images=case.images[list(order)])
    deviation = np.reshape([values.std() for values in own], (4, 1, 1, 1))
    for strength in (0.5, 1.0):
        noisy = case.images + strength * deviation * rng.standard_normal(case.images.shape)
        yield f"noise of {strength} sd", replace(case, images=(noisy * brain).astype(np.float32))
    largest = np.reshape([values.max() for values in own], (4, 1, 1, 1))
    inverted = np.where(case.images != 0, largest + 1 - case.images, 0)
    yield "inverted contrast", replace(case, images=inverted.astype(np.float32))
    yield "skull left on", replace(case, images=with_skull(case.images, rng))


def with_skull(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A dark shell of bone and one of scalp, bright in T1, around the brain."""
    images = images.astype(np.float32, copy=True)
    distance = ndimage.distance_transform_edt(~images.any(axis=0))
    bone, scalp = (distance > 0) & (distance <= SKULL_MM), (distance > SKULL_MM) & (distance <= SCALP_MM)
    for image, brightness in zip(images, (1.6, 1.6, 1.2, 1.2), strict=True):
        mean, deviation = float(image[image != 0].mean()), float(image[image != 0].std())
        image[bone] = np.maximum(0.1 * mean + 0.1 * deviation * rng.standard_normal(bone.sum()), 1)
        image[scalp] = np.maximum(brightness * mean + 0.5 * deviation * rng.standard_normal(scalp.sum()), 1)
    return images


def as_table(found: dict[str, list[dict[str, object]]]) -> str:
    """How many were flagged, as Markdown."""
    lines = ["| scan | flagged | median score (1 is the limit) |", "|---|---|---|"]
    for name, results in found.items():
        flagged = sum(bool(result["flag"]) for result in results)
        score = float(np.median([float(result["score"]) for result in results]))  # type: ignore[arg-type]
        lines.append(f"| {name} | {flagged} of {len(results)} | {score:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
