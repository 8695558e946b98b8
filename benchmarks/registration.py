"""How far off are images once they are aligned to T1ce? Real cases, moved and cut into thick slices by known motions.

    python benchmarks/registration.py --data DATA [--cases N] [--raw STUDY] [--out registration.csv]

Of each case, T1 is made into sagittal slices, T2 and FLAIR into oblique axial ones, all of 5 mm, of a head that has
moved. The error is the mean over 500 points of the brain's surface (an ellipsoid in its box) of how far they lie from
where they belong. ``--raw`` is a study with skull, ``scans`` and ``brain_masks`` in it: its true motion is unknown, so
its masks are compared, as it is and skull-stripped, and the ends from headers that were moved by a known motion.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.formats import read_volume
from ProtoSegBrainLib.images.volume import Volume, begin_at, bounding_box, corners, resample
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.preparation.alignment import align, displacement_mm, turned_degrees
from ProtoSegBrainLib.result.metrics import dice

ROLES = ("t1n", "t2w", "t2f")
KINDS = {
    "15 degrees, 20 mm": (15.0, 20.0),
    "45 degrees, 60 mm": (45.0, 60.0),
    "2 degrees, 1.5 mm": (2.0, 1.5),
    "none": (0.0, 0.0),
}
POINTS = 500
IN_PLANE_MM, SLICE_MM = 0.9, 5
SAGITTAL = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
TILT_DEGREES = {"t2w": 4.0, "t2f": 5.0}
RAW_NAMES = {"t1n": "_t1", "t1c": "_t1c", "t2w": "_t2", "t2f": "_fla"}
HEADERS = 3


@dataclass(frozen=True)
class Row:
    """One image, aligned once; lengths in mm."""

    kind: str
    case: str
    role: str
    before: float
    error: float
    kept: bool
    information_before: float
    information: float
    apart: float
    cpu_s: float
    doubts: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of cases")
    parser.add_argument("--cases", type=int, default=8, help="so many, spread over the folder")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="of motion (default: all)")
    parser.add_argument("--raw", type=Path, help="folder of a study with skull")
    parser.add_argument("--out", type=Path, help="CSV file for a row per image")
    options = parser.parse_args()
    places = list_cases(options.data)
    places = places[:: max(1, len(places) // options.cases)][: options.cases]
    rows = []
    for number, place in enumerate(places):
        case = read_case(place, with_label=False)
        images = {role: Volume(image, case.affine) for role, image in zip(MODALITIES, case.images, strict=True)}
        for row in rows_of(case.case_id, images, options.kind or list(KINDS), seed=number):
            rows.append(row)
            print(row, flush=True)
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(Row.__annotations__), lineterminator="\n")
            writer.writeheader()
            writer.writerows(vars(row) for row in rows)
    print(as_table(rows))
    if options.raw:
        print(as_raw_table(options.raw))


def rows_of(case_id: str, images: dict[str, Volume], kinds: list[str], seed: int) -> Iterator[Row]:
    fixed = images["t1c"]
    surface = points_of_surface(fixed)
    for kind in kinds:
        for number, role in enumerate(ROLES):
            motion = random_motion(np.random.default_rng([seed, number]), fixed, *KINDS[kind])
            moving = acquired(Volume(images[role].array, motion @ images[role].affine), fixed, role)
            since = time.process_time()
            found = align(moving, fixed)
            cpu_s = time.process_time() - since
            before, error = (mean_distance(each @ motion, surface) for each in (np.eye(4), found.motion))
            yield Row(
                *(kind, case_id, role, round(before, 2), round(error, 2), found.is_kept),
                *(round(found.information_before, 3), round(found.information, 3), round(found.apart_mm, 1)),
                *(round(cpu_s, 1), " ".join(found.doubts)),
            )


# -- a head that moves ---------------------------------------------------------------------------------------------


def random_motion(rng: np.random.Generator, image: Volume, degrees: float, mm: float) -> np.ndarray:
    """4x4: a turn about the image's centre and a shift, each of .4 to 1 of what is given, any direction."""
    axis, shift = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    turn, length = rng.uniform(0.4, 1, 2) * [np.radians(degrees), mm]
    rotation = np.eye(4)
    rotation[:3, :3] = Rotation.from_rotvec(axis * turn).as_matrix()
    centre = (image.affine @ [*(np.array(image.shape) - 1) / 2, 1.0])[:3]
    return begin_at(np.eye(4), centre + shift * length) @ rotation @ begin_at(np.eye(4), -centre)


def acquired(moved: Volume, fixed: Volume, role: str) -> Volume:
    """What a scanner stores of a moved head: thick slices, over the field of view of T1ce."""
    tilt = Rotation.from_euler("x", TILT_DEGREES.get(role, 0.0), degrees=True).as_matrix()
    axes = SAGITTAL if role == "t1n" else tilt
    field = axes.T @ (fixed.affine @ corners(fixed.shape))[:3]
    low, high = field.min(axis=1), field.max(axis=1)
    steps = np.array([IN_PLANE_MM, IN_PLANE_MM, 1.0])
    shape = np.floor((high - low) / steps).astype(int)
    shape[2] -= shape[2] % SLICE_MM
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * steps, axes @ low
    thin = resample(moved, shape, affine, order=1).array
    thick = thin.reshape(*shape[:2], -1, SLICE_MM).mean(axis=3)
    return Volume(thick, begin_at(affine, [0, 0, (SLICE_MM - 1) / 2]) @ np.diag([1.0, 1, SLICE_MM, 1]))


def points_of_surface(image: Volume) -> np.ndarray:
    """(4, n) homogeneous places on the ellipsoid in the box around what is not zero."""
    box = bounding_box(image.array)
    if box is None:
        raise ValueError("Expected a brain, got an image of nothing but zeros.")
    ends = np.array([(part.start, part.stop - 1) for part in box]).T
    directions = np.random.default_rng(0).normal(size=(POINTS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    index = ends.mean(axis=0) + directions * (ends[1] - ends[0]) / 2
    return np.asarray(image.affine @ np.vstack([index.T, np.ones(POINTS)]))


def mean_distance(motion: np.ndarray, places: np.ndarray) -> float:
    return float(np.linalg.norm((motion @ places - places)[:3], axis=0).mean())


def as_table(rows: list[Row]) -> str:
    lines = ["| moved by up to | pairs | before | error: mean | median | worst | kept | doubted | CPU-s: mean | most |"]
    lines.append("|---" * 10 + "|")
    for kind in dict.fromkeys(row.kind for row in rows):
        those = [row for row in rows if row.kind == kind]
        before, errors, cpu_s = np.array([(row.before, row.error, row.cpu_s) for row in those]).T
        kept, doubted = (sum(bool(getattr(row, name)) for row in those) for name in ("kept", "doubts"))
        lines.append(
            f"| {kind} | {len(those)} | {before.mean():.1f} | {errors.mean():.2f} | {np.median(errors):.2f} | "
            f"{errors.max():.2f} | {kept} | {doubted} | {cpu_s.mean():.1f} | {cpu_s.max():.1f} |"
        )
    return "\n".join(lines)


# -- a study with skull --------------------------------------------------------------------------------------------


def as_raw_table(study: Path) -> str:
    whole, masks = ({role: _read(study / folder, role) for role in MODALITIES} for folder in ("scans", "brain_masks"))
    stripped = {role: Volume(each.array * (masks[role].array > 0), each.affine) for role, each in whole.items()}
    pairs = {
        "with skull": (whole, whole),
        "stripped": (stripped, stripped),
        "stripped onto skull": (stripped, whole),
        "skull onto stripped": (whole, stripped),
    }
    lines = [
        "| | role | moved mm | degrees | information | Dice of masks | scatter mm | doubts |",
        "|---" * 8 + "|",
    ]
    for name, (moving, fixed) in pairs.items():
        for role in ROLES:
            found = align(moving[role], fixed["t1c"])
            before, after = (_mask_dice(each, masks["t1c"]) for each in (masks[role], found.moved(masks[role])))
            apart = [_apart(found.motion, moving[role], fixed["t1c"], seed) for seed in range(HEADERS)]
            lines.append(
                f"| {name} | {role} | {displacement_mm(found.motion, moving[role]):.1f} | "
                f"{turned_degrees(found.motion):.1f} | {found.information_before:.2f} to {found.information:.2f} | "
                f"{before:.3f} to {after:.3f} | {max(apart):.2f} | {len(found.doubts)} |"
            )
    return "\n".join(lines)


def _read(folder: Path, role: str) -> Volume:
    ending = f"{RAW_NAMES[role]}.nii.gz"
    found = [path for path in sorted(folder.iterdir()) if path.name.endswith(ending)]
    if len(found) != 1:
        raise ValueError(f"{folder}: expected one file that ends in {ending}, found {len(found)}.")
    return read_volume(found[0])


def _mask_dice(mask: Volume, onto: Volume) -> float:
    share = resample(Volume((mask.array > 0).astype(np.float32), mask.affine), onto.shape, onto.affine, order=1)
    return dice(share.array >= 0.5, onto.array > 0)


def _apart(motion: np.ndarray, moving: Volume, fixed: Volume, seed: int) -> float:
    """Mean distance between the end from the image's own header and that from one moved by 15 degrees and 20 mm."""
    away = random_motion(np.random.default_rng(seed), moving, *KINDS["15 degrees, 20 mm"])
    again = align(Volume(moving.array, away @ moving.affine), fixed).motion @ away
    return mean_distance(again @ np.linalg.inv(motion), points_of_surface(fixed))


if __name__ == "__main__":
    main()
