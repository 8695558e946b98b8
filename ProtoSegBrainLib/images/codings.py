"""Label codings: values of a label file <-> class indices, and a word of doubt where the coding may be another.

The values 1, 2, 3 or 1, 2, 4 mean different classes in different data sets. How a glioma looks decides: oedema lies
outermost, enhancing tumour is bright on T1ce, a resection cavity dark on FLAIR. Every coding that knows the values is
asked how well each value looks like its class, and another must fit clearly better, so that a rare case is not taken
for a wrong one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ProtoSegBrainLib.images.volume import bounding_box
from ProtoSegBrainLib.labels import CLASSES, LABEL_CONVENTIONS, MODALITIES, listed

# Which conventions a label may have by its values alone: the first that knows them all.
BY_VALUES = ("brats2020", "brats2023", "brats2024")
VALUE_SAYS = "The label's value "
"""How the sentences of ``value_remarks`` begin."""
READ_OTHERWISE = "The label was read as "
"""How a sentence begins that says that the label seems to be in another coding."""
LEAST_VOXELS_COMPARED = 50
"""A mean over fewer voxels says little."""
MOST_VOXELS = 250_000
"""Of the grid on which brightness is measured; finer ones are thinned out."""
CAVITY = "cavity"
EXPECTED = {
    "NCR": ((0.08, 0.36, 0.92), (0.2, 0.2, 0.2)),
    "ED": ((0.76, 0.45, 0.92), (0.2, 0.2, 0.2)),
    "ET": ((0.13, 0.90, 0.92), (0.2, 0.2, 0.2)),
    CAVITY: ((0.20, 0.20, 0.30), (0.3, 0.2, 0.3)),
}
"""Mean and tolerance of a class's open surface and of its ranks on T1ce and FLAIR. The means are those of the 50 real
cases; of the cavity, which they have not, what fluid looks like."""
MOST_MISFIT = 8.0
"""Of one measure: one that is far off must not decide alone."""
CAVITY_MISFIT = 2.0
"""What a cavity must overcome to be believed: most tumours have none."""
MARGIN = 2.0
"""By which another coding must fit better. It is at most 1.1 in the 50 real cases as they are, at least 4.0 with their
labels in another coding."""
OF_OTHER_PATIENTS = ("brats2024", "peds")
"""Codings of children and of treated tumours: who names one is believed, for such tumours may look otherwise."""


def decode_label(array: np.ndarray, convention: str | None = None) -> tuple[np.ndarray, str]:
    """Class indices from the values of a label file, and the convention they were read by.

    Without a convention, it is told by the values: 4 means ``brats2020``, 3 ``brats2023``, both ``brats2024``; a map
    with neither is the same in all three and counts as ``brats2020``. The others must be named.

    Raises:
        ValueError: A value the convention has not, or an unknown convention.
    """
    values, convention = label_values(array, convention)
    return classes_of(values, convention), convention


def label_values(array: np.ndarray, convention: str | None = None) -> tuple[np.ndarray, str]:
    """The values of a label file (uint8), and the convention they are read by; see ``decode_label``."""
    if array.dtype.kind == "f":
        array = np.around(array, 3)  # a scale factor in the header may leave 3.99999 for 4
    found = [float(value) for value in np.unique(_where(array, array != 0))]  # sorting the background takes a second
    if convention is None:
        convention = next((name for name in BY_VALUES if set(found) <= set(LABEL_CONVENTIONS[name])), None)
    known = set(_table(convention)) if convention else set().union(*LABEL_CONVENTIONS.values())
    unknown = [value for value in found if value not in known]
    if unknown or convention is None:
        raise ValueError(_what_is_unknown(unknown, convention))
    return array.astype(np.uint8, copy=False), convention


def classes_of(values: np.ndarray, convention: str) -> np.ndarray:
    """Class indices (uint8) from values that the convention knows."""
    table = _table(convention)
    lookup = np.zeros(max(table) + 1, np.uint8)
    lookup[list(table)] = list(table.values())
    classes: np.ndarray = lookup[values]
    return classes


def encode_label(classes: np.ndarray, convention: str) -> np.ndarray:
    """Values of a label file (uint8) from class indices; ``decode_label`` gives the classes back.

    Raises:
        ValueError: An unknown convention, or a class index above 3.
    """
    values = written_values(convention)
    if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < len(CLASSES):
        raise ValueError(f"Expected class indices 0 to {len(CLASSES) - 1}; got {classes.min()} to {classes.max()}.")
    return np.array(values, np.uint8)[classes]


def written_values(convention: str) -> tuple[int, ...]:
    """The value that stands for each class, in the order of ``CLASSES``.

    Raises:
        ValueError: An unknown convention.
    """
    table = _table(convention)
    return tuple(next(value for value, index in table.items() if index == wanted) for wanted in range(len(CLASSES)))


def value_remarks(values: np.ndarray, convention: str, voxel_ml: float) -> list[str]:
    """What a user should know of values that are no class of their own: the cavity, cysts.

    Args:
        values: (X, Y, Z) of a label file.
        convention: By which they are read.
        voxel_ml: Volume of one voxel.
    """
    special = {"brats2024": (4, "the resection cavity", "left out of the regions, as background")}
    special["peds"] = (3, "the cystic component", "counted as NCR")
    if convention not in special:
        return []
    value, name, what = special[convention]
    ml = np.count_nonzero(values == value) * voxel_ml
    return [f"{VALUE_SAYS}{value}, read as {convention}, is {name}: {ml:.1f} ml, {what}."] if ml else []


def _what_is_unknown(values: list[float], convention: str | None) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:5]) + (" …" if len(values) > 5 else "")
    known = "; ".join(f"{name}: {', '.join(map(str, codes))}" for name, codes in LABEL_CONVENTIONS.items())
    text = f"label values {shown} are unknown to {convention or 'every coding'}; expected values of one of: {known}."
    if any(0 < value < 1 for value in values):
        return f"{text} Are they probabilities?"
    return f"{text} Is it the mask of one class?" if values == [255.0] else text


def _table(name: str) -> dict[int, int]:
    if name not in LABEL_CONVENTIONS:
        raise ValueError(f"Unknown label convention {name!r}; expected one of {', '.join(LABEL_CONVENTIONS)}.")
    return LABEL_CONVENTIONS[name]


def _where(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``array[chosen]`` in another order, three times as fast where i is the fastest index, as in files."""
    return array.T[chosen.T]


# -- what the images say -----------------------------------------------------------------------------------------------


def coding_doubts(
    values: np.ndarray, images: np.ndarray, spacing_mm: Sequence[float], convention: str, *, named: bool
) -> list[str]:
    """Sentences where the images contradict the coding; none where too few voxels could tell.

    Args:
        values: (X, Y, Z) of a label file.
        images: (4, X, Y, Z) in the order of ``MODALITIES``, in any units, 0 outside the brain.
        spacing_mm: Of the voxels.
        convention: By which the values were read.
        named: Whether a person named it; if not, it was told by the values.
    """
    looks = value_looks(values, images, spacing_mm)
    if not looks:
        return []
    if not named or convention not in OF_OTHER_PATIENTS:
        better, moved = better_coding(looks, convention), better_order(looks, convention)
        if better:
            return [f"{READ_OTHERWISE}{convention}; by the images it is rather {better}: --labels {better}."]
        if moved:
            said = listed([f"{now} looks like {fitting}" for now, fitting in moved.items()])
            return [f"{READ_OTHERWISE}{convention}; by the images it is in no coding that is known: {said}."]
    present = np.unique(values[values != 0])
    name = _meaning(convention, int(present[0]))
    if len(present) == 1 and name != "ED" and not named:
        return [
            f"The label has the one value {present[0]}, read as {name}: if it is a mask of the whole tumour, only the "
            "scores of WT mean something."
        ]
    return _not_enhancing(looks, convention)


def value_looks(
    values: np.ndarray, images: np.ndarray, spacing_mm: Sequence[float]
) -> dict[int, tuple[float, float, float]]:
    """Open surface and mean ranks on T1ce and FLAIR by value; of values with few voxels nothing.

    A rank is the share of the brain's voxels that are darker; the open surface is the share of a value's surface that
    faces background, NaN where there is but one value.
    """
    step = max(1, round((values.size / MOST_VOXELS) ** (1 / 3)))
    thin = slice(None, None, step)
    some, thinned = values[thin, thin, thin], images[:, thin, thin, thin]
    brain = thinned.any(axis=0)
    open_surface = outward(values, spacing_mm)
    if np.count_nonzero(open_surface) == 1 == np.count_nonzero(np.bincount(values.ravel(order="K"))[1:]):
        open_surface[:] = np.nan  # of the only value all surface is open, whatever it is
    chosen = {int(value): brain & (some == value) for value in np.unique(some) if value}
    chosen = {value: mask for value, mask in chosen.items() if np.count_nonzero(mask) >= LEAST_VOXELS_COMPARED}
    ranks = []
    for image in (thinned[MODALITIES.index("t1c")], thinned[MODALITIES.index("t2f")]) if chosen else ():
        ordered = np.sort(image[brain])
        ranks.append({value: _mean_rank(ordered, image[mask]) for value, mask in chosen.items()})
    return {value: (float(open_surface[value]), ranks[0][value], ranks[1][value]) for value in chosen}


def outward(label: np.ndarray, spacing_mm: Sequence[float] = (1, 1, 1)) -> np.ndarray:
    """Share of each value's surface that faces background, by value; 0 for background and for what is not there.

    Args:
        label: (X, Y, Z) small integers. Surfaces are the faces between two voxels of different values.
        spacing_mm: Of the voxels; the faces of long ones are larger.
    """
    n, box = int(label.max(initial=0)) + 1, bounding_box(label)
    faces = np.zeros((n, n))
    if box is None:
        return np.zeros(n)
    tight = np.pad(label[box], 1)
    for axis in range(3):
        first, second = (np.moveaxis(tight, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        pairs = first.astype(int) * n + second
        area = float(np.prod(spacing_mm)) / spacing_mm[axis]
        faces += area * np.bincount(pairs.ravel(), minlength=faces.size).reshape(faces.shape)
    faces += faces.T
    np.fill_diagonal(faces, 0)
    total = faces.sum(axis=1)
    share: np.ndarray = np.divide(faces[0], total, out=np.zeros(n), where=total > 0)
    share[0] = 0
    return share


def better_coding(looks: Mapping[int, tuple[float, ...]], convention: str) -> str:
    """The coding that fits clearly better than the one by which the values were read; "" if none does.

    Nor does one where an order of the classes that no coding has fits clearly better still.
    """
    misfits = {}
    for name, table in LABEL_CONVENTIONS.items():
        if set(looks) <= set(table):
            misfits[name] = sum(_misfit(look, _meaning(name, value)) for value, look in looks.items())
    # "msd" and "nnunet" are the same; that of 4-D files is taken from them without asking, so the other is named.
    misfits.pop("msd" if convention != "msd" else "nnunet", None)
    best = min(misfits, key=lambda name: misfits[name])
    if misfits[convention] - misfits[best] <= MARGIN:
        return ""
    as_ordered = sum(min(_misfit(look, name) for name in _alike(best, value)) for value, look in looks.items())
    return best if as_ordered - _least_misfit(looks)[0] <= MARGIN else ""


def better_order(looks: Mapping[int, tuple[float, ...]], convention: str) -> dict[str, str]:
    """The same for any order of the classes: name a class goes by -> name that fits, of those that are not the same."""
    now = {value: _meaning(convention, value) for value in looks}
    least, best = _least_misfit(looks)
    if sum(_misfit(look, now[value]) for value, look in looks.items()) - least <= MARGIN:
        return {}
    return {now[value]: name for value, name in best.items() if now[value] != name}


def _least_misfit(looks: Mapping[int, tuple[float, ...]]) -> tuple[float, dict[int, str]]:
    """Of all orders of the classes, and the order; nothing fits more values than there are classes."""
    orders = [dict(zip(looks, names, strict=True)) for names in itertools.permutations(CLASSES[1:], len(looks))]
    if not orders:
        return float("inf"), {}
    misfits = [sum(_misfit(looks[value], name) for value, name in order.items()) for order in orders]
    best = int(np.argmin(misfits))
    return misfits[best], orders[best]


def _not_enhancing(looks: Mapping[int, tuple[float, ...]], convention: str) -> list[str]:
    """What no coding mends: enhancing tumour that does not enhance."""
    rank = {_meaning(convention, value): look[1] for value, look in looks.items()}
    if not {"NCR", "ET"} <= set(rank) or rank["ET"] > rank["NCR"]:
        return []
    return [
        f"The label, read as {convention}, may be coded otherwise: enhancing tumour is not brighter than the "
        "necrotic core on T1ce."
    ]


def _meaning(convention: str, value: int) -> str:
    """Name of the class, or of what is left out of the classes."""
    index = LABEL_CONVENTIONS[convention][value]
    return CLASSES[index] if index else CAVITY


def _alike(convention: str, value: int) -> tuple[str, ...]:
    """The names among which an order cannot tell: a cavity may look like necrosis."""
    name = _meaning(convention, value)
    return (CAVITY, "NCR") if name == CAVITY else (name,)


def _misfit(look: Sequence[float], name: str) -> float:
    means, tolerances = EXPECTED[name]
    parts = (((x - mean) / off) ** 2 / 2 for x, mean, off in zip(look, means, tolerances, strict=True))
    return sum(min(part, MOST_MISFIT) for part in parts if np.isfinite(part)) + (CAVITY_MISFIT if name == CAVITY else 0)


def _mean_rank(ordered: np.ndarray, members: np.ndarray) -> float:
    """Of the values among all, equals counted half."""
    places = np.searchsorted(ordered, members, "left") + np.searchsorted(ordered, members, "right")
    return float(places.mean()) / 2 / ordered.size
