"""Label codings: values of a label file <-> class indices, and a word of doubt where the coding may be another."""

from __future__ import annotations

import numpy as np

from ProtoSegBrainLib.labels import CLASSES, LABEL_CONVENTIONS

# A median over fewer voxels says little.
LEAST_VOXELS_COMPARED = 50


def decode_label(array: np.ndarray, convention: str | None = None) -> tuple[np.ndarray, str]:
    """Class indices from the values of a label file, and the convention they were read by.

    Without a convention, 4 means ``brats2020`` and 3 ``brats2023``; a map with neither is the same in both and
    counts as ``brats2020``. ``msd`` cannot be told by its values and must be named.

    Raises:
        ValueError: A value the convention has not, or an unknown convention.
    """
    if array.dtype.kind == "f":
        array = np.around(array, 3)  # a scale factor in the header may leave 3.99999 for 4
    values = [float(value) for value in np.unique(_where(array, array != 0))]  # sorting the background takes a second
    if convention is None:
        convention = "brats2023" if 3.0 in values and 4.0 not in values else "brats2020"
    table = _convention(convention)
    unknown = [value for value in values if value not in table]
    if unknown:
        shown = ", ".join(f"{value:g}" for value in unknown[:5])
        known = "; ".join(f"{name}: {', '.join(map(str, codes))}" for name, codes in LABEL_CONVENTIONS.items())
        raise ValueError(f"label values {shown} are unknown to {convention}; expected values of one of: {known}.")
    lookup = np.zeros(max(table) + 1, np.uint8)
    lookup[list(table)] = list(table.values())
    return lookup[array.astype(np.uint8, copy=False)], convention


def encode_label(classes: np.ndarray, convention: str) -> np.ndarray:
    """Values of a label file (uint8) from class indices; the inverse of ``decode_label``.

    Raises:
        ValueError: An unknown convention, or a class index above 3.
    """
    table = _convention(convention)
    if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < len(CLASSES):
        raise ValueError(f"Expected class indices 0 to {len(CLASSES) - 1}; got {classes.min()} to {classes.max()}.")
    lookup = np.zeros(len(CLASSES), np.uint8)
    lookup[list(table.values())] = list(table)
    return lookup[classes]


def coding_warnings(classes: np.ndarray, t1c: np.ndarray, convention: str) -> list[str]:
    """A sentence where enhancing tumour does not enhance; nothing where too few voxels could tell.

    Args:
        classes: (X, Y, Z) class indices.
        t1c: (X, Y, Z) T1ce on the same grid, in any units.
        convention: By which the classes were read.
    """
    necrosis, enhancing = _where(t1c, classes == 1), _where(t1c, classes == 3)
    if min(necrosis.size, enhancing.size) < LEAST_VOXELS_COMPARED or np.median(enhancing) > np.median(necrosis):
        return []
    return [
        f"The label, read as {convention}, may be coded otherwise: enhancing tumour is not brighter than the "
        "necrotic core on T1ce."
    ]


def _convention(name: str) -> dict[int, int]:
    if name not in LABEL_CONVENTIONS:
        raise ValueError(f"Unknown label convention {name!r}; expected one of {', '.join(LABEL_CONVENTIONS)}.")
    return LABEL_CONVENTIONS[name]


def _where(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``array[chosen]`` in another order, three times as fast where i is the fastest index, as in files."""
    return array.T[chosen.T]
