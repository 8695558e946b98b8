"""What the images of a case must be, each for itself and all together, and what a user should know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ProtoSegBrainLib.images.naming import names_of
from ProtoSegBrainLib.images.volume import Volume, overlap, same_grid, same_lattice, voxel_ml

# Fields of view that share less than this belong to different spaces.
LEAST_OVERLAP = 0.05
# Below this share of a field of view in common, the user should look.
GOOD_OVERLAP = 0.5
# A brain fills about half of the tightest box around it; where fewer voxels than this are zero, skull and air remain.
LEAST_ZERO_SHARE = 0.25
# Larger brains, the space around them included, are none: a head with skull has 3000 and more.
MOST_BRAIN_ML = 2500.0
# Of a voxel, and of a field of view; brains are scanned between these.
SPACING_MM = (0.2, 15.0)
FIELD_MM = (50.0, 600.0)
ROUNDING = 1e-3
# In mm, as a header may mean them instead.
OTHER_UNITS = {"micrometres": 1e-3, "centimetres": 10.0, "metres": 1e3}
# Warnings of many cases that a person reads at once.
MOST_LINES = 12


def check_image(volume: Volume, name: str) -> None:
    """Refuse what is no image of a modality.

    Raises:
        ValueError: Not 3-D, no voxels, one value everywhere, or NaN or infinity (in float32); it begins with ``name``.
    """
    array = volume.array
    if array.ndim != 3:
        raise ValueError(f"{name}: expected a 3-D image, got shape {array.shape}.")
    if array.size == 0:
        raise ValueError(f"{name} is empty: its shape is {array.shape}.")
    with np.errstate(over="ignore"):  # in float32, as they will be used: 1e300 is infinity there
        low, high = float(np.float32(array.min())), float(np.float32(array.max()))  # NaN and infinity come through
        if not (np.isfinite(low) and np.isfinite(high)):
            count = int(array.size - np.isfinite(array.astype(np.float32)).sum())
            raise ValueError(f"{name}: expected finite numbers (of float32), got NaN or infinity in {count} voxels.")
    if low == high:
        raise ValueError(f"{name} is empty or constant: every voxel is {low:g}; expected an image.")


def check_extent(volume: Volume, name: str) -> None:
    """Refuse voxels and fields of view of a size that no scan of a head has.

    Raises:
        ValueError: With the size, what was expected, and the likely reason.
    """
    spacing = np.array(volume.spacing_mm)
    field = spacing * volume.shape
    if not volume.array.size or (_within(spacing, SPACING_MM) and _within(field, FIELD_MM)):
        return
    reason = "It shows a part of a head, or no head, or its voxel size is wrong."
    if _within(spacing, SPACING_MM):
        what, sizes, limits = "a field of view", field, FIELD_MM
    else:
        what, sizes, limits = "voxels", spacing, SPACING_MM
        meant = {unit: spacing * factor for unit, factor in OTHER_UNITS.items()}
        unit = next((unit for unit, size in meant.items() if _within(size, SPACING_MM)), None)
        if unit:
            reason = f"Its lengths are probably in {unit}, its voxels {_by(meant[unit])} mm: correct its header."
    raise ValueError(
        f"{name} has {what} of {_by(sizes)} mm; expected {limits[0]:g} to {limits[1]:g} mm. "
        + " ".join((reason, *volume.remarks))
    )


def _within(sizes: np.ndarray, limits: tuple[float, float]) -> bool:
    return bool((sizes > limits[0] * (1 - ROUNDING)).all() and (sizes < limits[1] * (1 + ROUNDING)).all())


def _by(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.3g}" if size < 1000 else f"{size:.0f}" for size in sizes)


def remarks_on(volumes: Mapping[str, Volume]) -> list[str]:
    """What was said on the reading of the images, by role; what holds for several is said once."""
    said: dict[str, dict[str, str]] = {}
    for role, volume in volumes.items():
        for remark in volume.remarks:
            name, _, text = remark.partition(": ")
            said.setdefault(text, {})[role] = name
    return [f"{names_of(of) if len(of) > 1 else next(iter(of.values()))}: {text}" for text, of in said.items()]


def grid_warnings(volume: Volume, reference: Volume, what: str, name: str, reference_name: str) -> list[str]:
    """What will be done to bring a volume to the reference grid; nothing where it is on it.

    Args:
        volume: An image or a label map.
        reference: An image on the case's grid.
        what: Begins the sentence: "FLAIR", "The label".
        name: Of the volume's file, or what stands for it.
        reference_name: The same of the reference.

    Raises:
        ValueError: The two do not overlap.
    """
    if same_grid(volume, reference.shape, reference.affine):
        return []
    share = overlap(volume, reference)
    if share < LEAST_OVERLAP:
        raise ValueError(
            f"{name} and {reference_name} lie in different spaces: their fields of view share {share:.0%}. "
            "Expected images of one patient, registered to each other."
        )
    if same_lattice(volume, reference.shape, reference.affine):
        done = f"{what} ({name}) was stored with other axes or another extent; its voxels were copied, unchanged, to"
    else:
        spacing = _by(np.array(volume.spacing_mm))
        done = f"{what} ({name}, {volume.shape[0]} x {volume.shape[1]} x {volume.shape[2]} voxels of {spacing} mm) was"
        done += " resampled to"
    sentences = [f"{done} the grid of {reference_name}."]
    if share < GOOD_OVERLAP:
        sentences.append(f"{name} and {reference_name} share only {share:.0%} of their fields of view: check them.")
    return sentences


def skull_warnings(volumes: Mapping[str, Volume]) -> list[str]:
    """A sentence where images, by role, seem to show more than the brain."""
    return skull_sentences(with_skull(volumes))


def with_skull(volumes: Mapping[str, Volume]) -> dict[str, str]:
    """Why images seem to show more than the brain, by role; of those that do not, nothing."""
    why = {role: _why_bare(volume) for role, volume in volumes.items()}
    return {role: reason for role, reason in why.items() if reason}


def skull_sentences(bare: Mapping[str, str]) -> list[str]:
    """What to say of images ``with_skull`` that are taken as they are."""
    if not bare:
        return []
    return [
        f"{names_of(bare)}: {next(iter(bare.values()))}; the images do not seem to be skull-stripped. "
        "The network expects skull-stripped images, so the result cannot be trusted."
    ]


def _why_bare(volume: Volume) -> str:
    """Why an image seems to show more than the brain; "" where it does not."""
    count = np.count_nonzero(volume.array)
    if 1 - count / volume.array.size < LEAST_ZERO_SHARE:
        return "the background is not zero"
    ml = count * voxel_ml(volume.affine)
    return f"{ml:.0f} ml are not zero, which is more than a brain" if ml > MOST_BRAIN_ML else ""


def sentences_of(warnings: Mapping[str, Sequence[str]]) -> list[str]:
    """Warnings of many cases for a person: each sentence once, with the cases that it is of, and not too many.

    Args:
        warnings: By case.
    """
    cases: dict[str, list[str]] = {}
    for case_id, said in warnings.items():
        for sentence in said:
            cases.setdefault(sentence, []).append(case_id)
    lines = [f"{_some(names)}: {sentence}" for sentence, names in cases.items()]
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"... and {more} more such lines."]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} cases ({', '.join(names[:3])} ...)"
