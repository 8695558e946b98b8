"""What does a case lose when its images come thick and moved, and are aligned and masked before they are segmented?

    python benchmarks/preparation.py --data DIR [--cases N] [--seed N]

T1ce stays as it is; T1 becomes sagittal slices of 5 mm, T2 and FLAIR axial ones, each of a patient who moved by up to
15 degrees and 20 mm. Prints, per case and as a mean, for the case as it is and for the one that was prepared, the Dice
of the bundled model against the expert's label and whether the scan is flagged as unlike the training data; and how far
the recovered motions are from the true ones.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.images.case import Case, case_of
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.study import Study, read_study_files, study_of_volumes
from ProtoSegBrainLib.images.volume import Volume, canonical, resample
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.preparation.prepare import prepare_study
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.segmentation.predict import predict

ACROSS = {"t1n": 0, "t2w": 2, "t2f": 2}
"""RAS axis along which the slices of a series are thick."""
THICK_MM = 5
MOST_DEGREES, MOST_MM = 15.0, 20.0
POINTS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one labelled case per folder")
    parser.add_argument("--cases", type=int, default=12, help="how many, spread over the folder (default: 12)")
    parser.add_argument("--seed", type=int, default=1, help="of the motions (default: 1)")
    options = parser.parse_args()
    every = list_cases(options.data)
    chosen = every[:: max(1, len(every) // options.cases)][: options.cases]
    rows = []
    for number, files in enumerate(chosen):
        rows.append(row(read_study_files(files), np.random.default_rng(options.seed + number)))
        print(files.case_id, written(rows[-1]), flush=True)
    for what, summary in (("mean", np.mean), ("median", np.median)):
        print(
            f"{what} of {len(rows)}", written({name: float(summary([each[name] for each in rows])) for name in rows[0]})
        )


def row(study: Study, rng: np.random.Generator) -> dict[str, float]:
    """Dice as it is and prepared, error of the motions and processor seconds of the preparation."""
    whole = case_of(study)
    volumes, motions = dict(study.volumes), {}
    for role, axis in ACROSS.items():
        motions[role] = a_motion(rng, volumes[role])
        volumes[role] = scanned(volumes[role], motions[role], axis)
    start = time.process_time()
    prepared = prepare_study(study_of_volumes(volumes, study.case_id))
    seconds = time.process_time() - start
    assert prepared.preparation is not None
    errors = [error_mm(prepared.preparation.moves[role].motion, np.linalg.inv(motions[role]), whole) for role in ACROSS]
    return {
        **{f"{name} as it is": value for name, value in scores(whole, whole).items()},
        **{f"{name} prepared": value for name, value in scores(prepared, whole).items()},
        "mean error mm": float(np.mean(errors)),
        "worst error mm": max(errors),
        "CPU s": seconds,
    }


def scores(case: Case, truth: Case) -> dict[str, float]:
    found = predict(case)
    assert truth.label is not None
    dices = {name: dice(np.isin(found.label, part), np.isin(truth.label, part)) for name, part in REGIONS.items()}
    return {**dices, "flagged": float(found.findings["out_of_distribution"]["flag"])}


def a_motion(rng: np.random.Generator, volume: Volume) -> np.ndarray:
    """Of the patient, about the middle of the image: 4x4, RAS mm."""
    axis, shift = (direction / np.linalg.norm(direction) for direction in rng.standard_normal((2, 3)))
    angle = np.deg2rad(rng.uniform(0.3, 1) * MOST_DEGREES)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    motion = np.eye(4)
    motion[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    middle = (volume.affine @ [*((np.array(volume.shape) - 1) / 2), 1])[:3]
    motion[:3, 3] = middle - motion[:3, :3] @ middle + shift * rng.uniform(0.3, 1) * MOST_MM
    return motion


def scanned(volume: Volume, motion: np.ndarray, axis: int) -> Volume:
    """A patient who moved, in thick slices across an axis: means of what is measured every millimetre."""
    upright = canonical(volume)
    fine = resample(Volume(upright.array, motion @ upright.affine), upright.shape, upright.affine, order=1).array
    n = fine.shape[axis] // THICK_MM
    parts = np.moveaxis(fine, axis, 0)[: n * THICK_MM].reshape(n, THICK_MM, *np.delete(fine.shape, axis))
    affine = upright.affine.copy()
    affine[:, 3] += affine[:, axis] * (THICK_MM - 1) / 2
    affine[:, axis] *= THICK_MM
    return Volume(np.ascontiguousarray(np.moveaxis(parts.mean(axis=1), 0, axis)), affine)


def error_mm(found: np.ndarray, true: np.ndarray, case: Case) -> float:
    """Mean distance, at points of the brain's surface."""
    from scipy import ndimage

    surface = np.argwhere(case.brain & ~ndimage.binary_erosion(case.brain))
    some = surface[np.linspace(0, len(surface) - 1, POINTS).astype(int)]
    places = np.linalg.inv(true) @ case.affine @ np.vstack([some.T, np.ones(POINTS)])
    return float(np.linalg.norm(((found - true) @ places)[:3], axis=0).mean())


def written(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


if __name__ == "__main__":
    main()
