"""Does a case on four oblique, anisotropic, shifted grids give what the same case gives on one aligned grid?

    python benchmarks/four_grids.py --case DIR [--case DIR ...] [--seed N ...]

Prints the Dice of the two predictions of the bundled model for each case and for each simulated case, and after "at
best" that of the aligned case's own probabilities once they are interpolated: less than 1, as the grid's voxels lie
elsewhere.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.images.case import Case, read_case, read_case_files
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.labels import MODALITIES, REGIONS
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.predict import predict
from ProtoSegBrainLib.simulation.simulate import simulate_case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, action="append", default=[], help="folder of one case")
    parser.add_argument("--seed", type=int, action="append", default=[], help="number of a simulated case")
    options = parser.parse_args()
    cases = [read_case(folder, with_label=False) for folder in options.case]
    for case in [*cases, *(simulate_case(seed) for seed in options.seed)]:
        aligned = predict(case)
        with tempfile.TemporaryDirectory() as folder:
            agreement = dice_of_four_grids(case, aligned, Path(folder))
        at_best = dice_at_best(case, aligned)
        print(case.case_id, _written(agreement), "at best", _written(at_best))


def _written(agreement: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in agreement.items())


def region_dice(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    return {name: dice(np.isin(first, classes), np.isin(second, classes)) for name, classes in REGIONS.items()}


def dice_of_four_grids(case: Case, aligned: Prediction, folder: Path) -> dict[str, float]:
    """Each modality turned, moved and sampled otherwise: agreement, on the exact grid of the reference."""
    files, grids = {}, {}
    for number, role in enumerate(MODALITIES):
        shape, affine = grid_of(case, number)
        files[role], grids[role] = folder / f"scan_{role}.nii.gz", (shape, affine)
        write_volume(files[role], resample(Volume(case.images[number], case.affine), shape, affine, order=1))

    prediction = predict(read_case_files(**files))

    shape, affine = grids["t1c"]
    assert prediction.label.shape == shape
    np.testing.assert_allclose(prediction.affine, affine, atol=1e-4)
    assert any("resampled" in sentence for sentence in prediction.warnings)
    expected = resample(Volume(aligned.label, aligned.affine), shape, affine, order=0).array
    return region_dice(prediction.label, expected)


def dice_at_best(case: Case, aligned: Prediction) -> dict[str, float]:
    """What interpolation to the reference's grid alone costs: no scan is sampled again, no network runs again."""
    shape, affine = grid_of(case, MODALITIES.index("t1c"))
    fine = [resample(Volume(part, aligned.affine), shape, affine, order=1).array for part in aligned.probabilities]
    expected = resample(Volume(aligned.label, aligned.affine), shape, affine, order=0).array
    return region_dice(np.argmax(fine, axis=0), expected)


def grid_of(case: Case, number: int) -> tuple[tuple[int, int, int], np.ndarray]:
    """Of the modality of this number."""
    return an_oblique_grid(case, degrees=3 + 4 * number, spacing=(1.0, 0.9, 1.2), shift=number)


def an_oblique_grid(
    case: Case, degrees: float, spacing: tuple[float, float, float], shift: float
) -> tuple[tuple[int, int, int], np.ndarray]:
    """A grid around the same centre: turned about two axes, with unequal voxels and moved by fractions of one."""
    angle = np.deg2rad(degrees)
    about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(spacing)
    nx, ny, nz = (int(np.ceil(size * 1.15 / step)) for size, step in zip(case.images.shape[1:], spacing, strict=True))
    middle = (np.array(case.images.shape[1:]) - 1) / 2
    centre = case.affine[:3, :3] @ middle + case.affine[:3, 3] + 0.3 * shift
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array([nx, ny, nz]) - 1) / 2)
    return (nx, ny, nz), affine


if __name__ == "__main__":
    main()
