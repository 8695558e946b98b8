"""Are images found that do not show one brain? Real cases as they are, and each with faults that files really have.

    python benchmarks/one_brain.py --data DATA [--data MORE ...] [--cases N] [--out one_brain.csv]

Each fault is made in one image of the whole case, T1ce or FLAIR in turn; whether and how it is named stands in the
table. With ``--harm N`` the first N cases are segmented, as they are and with each fault, and the loss of Dice stands
there, too.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib import list_cases, read_case
from ProtoSegBrainLib.images.brains import brain_warnings
from ProtoSegBrainLib.images.case import Case, case_from_volumes
from ProtoSegBrainLib.images.volume import Volume, bounding_box
from ProtoSegBrainLib.labels import MODALITIES, REGIONS
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.segmentation.predict import predict

Images = dict[str, np.ndarray]
SPECKS = 5
ROOM = 12
"""Voxels around the brain, into which it is turned."""
# What a fault's sentence must say, to have named it.
NAMED = {
    "exchanged": "exchanged",
    "twice": "the same image",
    "mirrored": "mirrored left-right",
    "half": "shows only",
    "specks": "is empty but for",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of cases")
    parser.add_argument("--cases", type=int, help="of each folder at most so many")
    parser.add_argument("--harm", type=int, default=0, metavar="N", help="segment the first N cases with each fault")
    parser.add_argument("--out", type=Path, help="CSV file for a row per case and fault")
    options = parser.parse_args()
    places = [place for data in options.data for place in list_cases(data)[: options.cases]]
    rows: list[dict[str, object]] = []
    model = load_model(None) if options.harm else None
    before: Case | None = None
    for number, place in enumerate(places):
        case = read_case(place)
        for fault, volumes in faulty(case, before, role=("t1c", "t2f")[number % 2]):
            said = " ".join(brain_warnings(volumes))
            row = {"case": case.case_id, "half": number % 2, "fault": fault, "said": said}
            if model and number < options.harm:
                prediction = predict(case_from_volumes(volumes, case.case_id), model)
                row |= {name: region_dice(prediction.label, case, name) for name in REGIONS}
            rows.append(row)
        before = case
        print(f"{number + 1}/{len(places)} {case.case_id}", flush=True)
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["case", "half", "fault", *REGIONS, "said"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    print(as_table(rows))


def region_dice(label: np.ndarray, case: Case, name: str) -> float:
    return round(dice(np.isin(label, REGIONS[name]), np.isin(case.label, REGIONS[name])), 3)


def faulty(case: Case, other: Case | None, role: str) -> Iterator[tuple[str, dict[str, Volume]]]:
    """The images as they are, and with each fault; ``role`` has the faults of a single image."""
    images = dict(zip(MODALITIES, case.images, strict=True))
    box = bounding_box(case.brain) or (slice(None),) * 3
    near = tuple(slice(max(0, part.start - ROOM), part.stop + ROOM) for part in box)
    one_image: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "moved 20 mm": lambda image: np.roll(image, 20, axis=0),
        "moved 10 mm": lambda image: np.roll(image, 10, axis=1),
        "moved 6 mm": lambda image: np.roll(image, 6, axis=2),
        "turned 10 degrees": lambda image: turned(image, near, (0, 1)),
        "nodded 10 degrees": lambda image: turned(image, near, (1, 2)),
        "mirrored": lambda image: image[::-1],
        "half": half,
        "specks": specks,
    }
    made: dict[str, Images] = {"none": images}
    made |= {fault: {**images, role: change(images[role])} for fault, change in one_image.items()}
    made["exchanged"] = {**images, "t1n": images["t1c"], "t1c": images["t1n"]}
    made["twice"] = {**images, "t1c": images["t1n"]}
    made["twice, rescaled, mirrored"] = {**images, "t1c": (2.5 * images["t1n"] + 3 * (images["t1n"] != 0))[::-1]}
    if other is not None and other.images.shape == case.images.shape:
        made["of another patient"] = {**images, role: other.images[MODALITIES.index(role)]}
    for fault, changed in made.items():
        yield fault, {name: Volume(image, case.affine) for name, image in changed.items()}
    shifted = case.affine.copy()
    shifted[0, 3] += 20
    volumes = {name: Volume(image, case.affine) for name, image in images.items()}
    yield "moved 20 mm by its header", {**volumes, role: Volume(images[role], shifted)}


def turned(image: np.ndarray, near: tuple[slice, ...], axes: tuple[int, int]) -> np.ndarray:
    """About the middle of the brain, near which all lies that is not 0."""
    result = np.zeros_like(image)
    result[near] = ndimage.rotate(image[near], 10, axes=axes, reshape=False, order=0)
    return result


def half(image: np.ndarray) -> np.ndarray:
    """The lower half of the brain, the rest 0."""
    planes = np.flatnonzero(image.any(axis=(0, 1)))
    return np.asarray(image * (np.arange(image.shape[2]) < planes.mean()))


def specks(image: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(image)
    places = tuple(np.argwhere(image)[:: max(1, np.count_nonzero(image) // SPECKS)][:SPECKS].T)
    kept[places] = image[places]
    return kept


def as_table(rows: list[dict[str, object]]) -> str:
    """Markdown: warned and named by half of the cases, and the mean loss of Dice where it was measured."""
    lines = ["| fault | warned, first half | warned, other half | named | WT / TC / ET lost |", "|---|---|---|---|---|"]
    sound = {row["case"]: row for row in rows if row["fault"] == "none"}
    for fault in dict.fromkeys(str(row["fault"]) for row in rows):
        found = [row for row in rows if row["fault"] == fault]
        cells = []
        for number in (0, 1):
            of_half = [row for row in found if row["half"] == number]
            cells.append(f"{sum(bool(row['said']) for row in of_half)} of {len(of_half)}")
        words = next((words for name, words in NAMED.items() if fault.startswith(name)), None)
        named = sum(words in str(row["said"]) for row in found) if words else None
        cells.append("" if named is None else f"{named} of {len(found)}")
        measured = [row for row in found if "WT" in row and fault != "none"]
        lost = [np.mean([sound[row["case"]][name] - row[name] for row in measured]) for name in REGIONS if measured]  # type: ignore[operator]
        cells.append(" / ".join(f"{value:.2f}" for value in lost))
        lines.append(f"| {fault} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
