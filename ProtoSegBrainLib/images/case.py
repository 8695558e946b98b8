"""One patient study: four modalities on one grid, and the expert's label where there is one.

``read_case`` takes a folder with BraTS names or a 4-D file of the Medical Segmentation Decathlon, ``read_case_files``
four files by role, ``case_from_volumes`` images in memory, ``case_from_kji`` arrays of 3D Slicer. All end in the same
checks and the same ``Case``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.images.volume import SUFFIXES, Volume, overlap, read_volume, resample, same_grid, same_lattice
from ProtoSegBrainLib.labels import (
    CLASSES,
    CONTRAST_TOKENS,
    LABEL_CONVENTIONS,
    LABEL_TOKENS,
    MODALITIES,
    MODALITY_ALIASES,
    MODALITY_NAMES,
    MSD_CHANNELS,
    NO_CONTRAST_TOKENS,
    OTHER_TOKENS,
)

# The order in which grids of equal voxel size are preferred as the reference.
REFERENCE_ORDER = ("t1c", "t2f", "t1n", "t2w")
# Fields of view that share less than this belong to different spaces.
LEAST_OVERLAP = 0.05
# Below this share of a field of view in common, the user should look.
GOOD_OVERLAP = 0.5
# A brain fills about half of the tightest box around it; where fewer voxels than this are zero, skull and air remain.
LEAST_ZERO_SHARE = 0.25
# A median over fewer voxels says little.
LEAST_VOXELS_COMPARED = 50

_ROLE_OF_TOKEN = {token: role for role, tokens in MODALITY_ALIASES.items() for token in tokens}
_ROLE_OF_TOKEN |= dict.fromkeys(LABEL_TOKENS, "label")


@dataclass(frozen=True, eq=False)
class Case:
    """A patient study on the grid of its reference input.

    Attributes:
        case_id: Names the outputs.
        images: (4, X, Y, Z) float32 in the order of ``MODALITIES``, intensities as in the files.
        affine: 4x4, voxel index -> RAS mm.
        label: (X, Y, Z) uint8 class indices, or None.
        label_convention: The coding the label file had, a key of ``LABEL_CONVENTIONS``.
        warnings: Plain sentences a user should read.
        files: Path by role (and ``label``); empty where the case comes from memory.
        originals: The four images as they were stored, where they were not all on this grid; else (). The network's
            input is interpolated from them, once.
    """

    case_id: str
    images: np.ndarray
    affine: np.ndarray
    label: np.ndarray | None = None
    label_convention: str | None = None
    warnings: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    originals: tuple[Volume, ...] = ()

    @cached_property
    def brain(self) -> np.ndarray:
        """(X, Y, Z) bool: where any of the four images is not zero."""
        return np.asarray(self.images.any(axis=0))


@dataclass(frozen=True)
class _Label:
    """A label map before it is on the case's grid."""

    volume: Volume
    name: str
    convention: str | None = None


def read_case(path: str | os.PathLike[str], *, with_label: bool = True) -> Case:
    """Read a case from a folder with the four modalities in its file names, or from one 4-D file.

    A 4-D file has the channels FLAIR, T1, T1ce, T2 and the labels of the Medical Segmentation Decathlon; its label
    is looked for in ``labelsTr`` beside ``imagesTr``.

    Args:
        path: Folder or 4-D file.
        with_label: Read the label, where there is one.

    Raises:
        FileNotFoundError: No such folder, or a modality is missing.
        ValueError: Two files for one role, or files that do not make a case (``read_case_files``).
    """
    path = Path(path)
    if path.is_file():
        return _read_decathlon(path, _decathlon_label(path) if with_label else None)
    found, others = _files_by_role(path)
    label = found.pop("label", None)
    if not any(role in found for role in MODALITIES):
        if (path / "imagesTr").is_dir():
            others = [file for _, file in list_cases(path)]
            if len(others) > 1:
                raise ValueError(f"{path} is a data set of {len(others)} cases; name one of the files in imagesTr.")
        if len(others) == 1:
            return _read_decathlon(others[0], (label or _decathlon_label(others[0])) if with_label else None)
    missing = [role for role in MODALITIES if role not in found]
    if missing:
        there = ", ".join(sorted(file.name for file in [*found.values(), *others])[:9]) or "no image file"
        raise FileNotFoundError(
            f"{path}: no file found for {_names(missing)}; there is: {there}. Expected names such as "
            "case_flair.nii.gz, case_t1.nii.gz, case_t1ce.nii.gz, case_t2.nii.gz; other names can be given by role."
        )
    files = {role: found[role] for role in MODALITIES}
    return _read_files(files, label if with_label else None, _case_id(path, files.values()))


def read_case_files(
    *,
    t1n: str | os.PathLike[str],
    t1c: str | os.PathLike[str],
    t2w: str | os.PathLike[str],
    t2f: str | os.PathLike[str],
    label: str | os.PathLike[str] | None = None,
    case_id: str | None = None,
) -> Case:
    """Read a case from four files of any names, on one grid or on four grids of the same space.

    Where the grids differ, all are resampled to that of the finest voxels (of equals, the first of T1ce, FLAIR, T1,
    T2), and ``warnings`` says so. Without ``case_id``, the files' common name or their folder's is taken.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: One file for two roles; a file that is unreadable, not 3-D, constant or empty, or holds NaN or
            infinity; files in different spaces; an unknown label value.
    """
    files = {"t1n": Path(t1n), "t1c": Path(t1c), "t2w": Path(t2w), "t2f": Path(t2f)}
    by_path: dict[Path, str] = {}
    for role, path in files.items():
        other = by_path.setdefault(path.resolve(), role)
        if other != role:
            raise ValueError(f"{path} was given for {_names([other, role])}; expected four different files.")
    case_id = case_id or _case_id(files["t1c"].resolve().parent, files.values())
    return _read_files(files, None if label is None else Path(label), case_id)


def case_from_kji(
    arrays: Mapping[str, np.ndarray], ijk_to_ras: Mapping[str, np.ndarray], case_id: str, label: str | None = None
) -> Case:
    """A case from arrays in 3D Slicer's order.

    Args:
        arrays: (K, J, I) by role; the four of ``MODALITIES``.
        ijk_to_ras: 4x4 by the same keys.
        case_id: Names the outputs.
        label: Key of a label map among ``arrays``, if there is one.

    Raises:
        ValueError: As in ``read_case_files``.
    """
    wanted = [*MODALITIES, *([label] if label else [])]
    for name, given in (("arrays", arrays), ("ijk_to_ras", ijk_to_ras)):
        missing = [role for role in wanted if role not in given]
        if missing:
            raise ValueError(f"Case {case_id}: {name} lacks {', '.join(missing)}; it has {', '.join(given) or 'none'}.")
    volumes = {role: Volume(np.asarray(arrays[role]).T, ijk_to_ras[role]) for role in wanted}
    return case_from_volumes(volumes, case_id, label)


def case_from_volumes(volumes: Mapping[str, Volume], case_id: str, label: str | None = None) -> Case:
    """A case from images in memory, on one grid or on four grids of the same space; no file is named.

    Args:
        volumes: By role; the four of ``MODALITIES``.
        case_id: Names the outputs.
        label: Key of a label map among ``volumes``, if there is one.

    Raises:
        ValueError: As in ``read_case_files``; the message says FLAIR, T1, T1ce or T2.
    """
    missing = [role for role in MODALITIES if role not in volumes]
    if missing:
        raise ValueError(f"Case {case_id}: {_names(missing)} not given; all four modalities are needed.")
    for role in MODALITIES:
        _check_image(volumes[role], MODALITY_NAMES[role])
    label_map = _Label(volumes[label], label) if label else None
    return _assemble({role: volumes[role] for role in MODALITIES}, dict(MODALITY_NAMES), case_id, label_map, {})


def list_cases(data_folder: str | os.PathLike[str]) -> list[tuple[str, Path]]:
    """Cases of a data folder as (case_id, what ``read_case`` takes), sorted; no image is opened.

    The folder holds a folder per case, or is a case itself, or has the Decathlon's ``imagesTr``.

    Raises:
        FileNotFoundError: No such folder, or no case in it.
        ValueError: Two files for one role, or two cases of one name.
    """
    folder = Path(data_folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if (folder / "imagesTr").is_dir():
        cases = [(_stem(file.name), file) for file in _image_files(folder / "imagesTr")]
    else:
        cases = []
        for candidate in [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())]:
            found, _ = _files_by_role(candidate)
            images = [file for role, file in found.items() if role in MODALITIES]
            if images:
                cases.append((_case_id(candidate, images), candidate))
    if not cases:
        raise FileNotFoundError(f"{folder}: no case found; expected a folder per case, or imagesTr with 4-D files.")
    by_id: dict[str, Path] = {}
    for case_id, place in cases:
        if by_id.setdefault(case_id, place) != place:
            raise ValueError(f"{folder}: two cases are called {case_id}: {by_id[case_id]} and {place}.")
    return cases


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


def _where(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``array[chosen]`` in another order, three times as fast where i is the fastest index, as in files."""
    return array.T[chosen.T]


def _convention(name: str) -> dict[int, int]:
    if name not in LABEL_CONVENTIONS:
        raise ValueError(f"Unknown label convention {name!r}; expected one of {', '.join(LABEL_CONVENTIONS)}.")
    return LABEL_CONVENTIONS[name]


def role_of_name(name: str) -> str | None:
    """The role (``label`` among them) that a name gives: of a file, of an image in memory, of a DICOM series."""
    return _role(name)[0]


# --- files and their names ---


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no file or folder {folder}.")
    hidden = "."  # also the "._name" twins that macOS leaves on shared disks
    return sorted(f for f in folder.iterdir() if f.name.lower().endswith(SUFFIXES) and not f.name.startswith(hidden))


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _role(name: str) -> tuple[str | None, str]:
    """The role that a file name's last telling token gives, and what stands before that token."""
    stem = _stem(name)
    matches = list(re.finditer(r"[a-z0-9]+", stem.lower()))
    tokens = [match.group() for match in matches]
    at = next((n for n in reversed(range(len(tokens))) if tokens[n] in _ROLE_OF_TOKEN), None)
    if at is None or OTHER_TOKENS.intersection(tokens):
        return None, stem
    role = _ROLE_OF_TOKEN[tokens[at]]
    after = set(tokens[at + 1 :]) | ({"ce"} & set(tokens))  # BIDS writes sub-01_ce-gadolinium_T1w
    if role == "t1n" and after & CONTRAST_TOKENS and not after & NO_CONTRAST_TOKENS:
        role = "t1c"
    return role, stem[: matches[at].start()].rstrip("_-. ")


def _files_by_role(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Files of a folder by role (``label`` among them), and the image files of no role."""
    found: dict[str, Path] = {}
    others = []
    for file in _image_files(folder):
        role, _ = _role(file.name)
        if role is None:
            others.append(file)
        elif role in found:
            name = MODALITY_NAMES.get(role, role)
            raise ValueError(f"{folder}: two files for {name}: {found[role].name} and {file.name}; expected one.")
        else:
            found[role] = file
    return found, others


def _case_id(folder: Path, files: Iterable[Path]) -> str:
    """What the images' names share before the modality, or else the folder's name; the label's name has no say."""
    prefixes = {_role(file.name)[1] for file in files}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    return prefix or folder.resolve().name


def _names(roles: Iterable[str]) -> str:
    return ", ".join(MODALITY_NAMES[role] for role in roles)


# --- reading ---


def _read_files(files: dict[str, Path], label: Path | None, case_id: str) -> Case:
    with ThreadPoolExecutor(len(files) + 1) as pool:
        reading = {role: pool.submit(_read_image, path) for role, path in files.items()}
        reading_label = None if label is None else pool.submit(_read_3d, label)
        volumes = {role: future.result() for role, future in reading.items()}
        label_map = None if reading_label is None else _Label(reading_label.result(), str(label))
    named = {role: str(path) for role, path in files.items()}
    if label is not None:
        named["label"] = str(label)
    return _assemble(volumes, {role: path.name for role, path in files.items()}, case_id, label_map, named)


def _read_3d(path: Path) -> Volume:
    volume = read_volume(path)
    if volume.array.ndim != 3:
        raise ValueError(f"{path}: expected a 3-D image, got 4-D of shape {volume.array.shape}.")
    return volume


def _read_image(path: Path) -> Volume:
    volume = _read_3d(path)
    _check_image(volume, str(path))
    return volume


def _check_image(volume: Volume, name: str) -> None:
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


def _decathlon_label(path: Path) -> Path | None:
    label = path.parent.parent / "labelsTr" / path.name
    return label if path.parent.name == "imagesTr" and label.is_file() else None


def _read_decathlon(path: Path, label: Path | None) -> Case:
    whole = read_volume(path)
    if whole.array.ndim != 4 or whole.array.shape[3] != len(MSD_CHANNELS):
        raise ValueError(
            f"{path}: a single file must be 4-D with the channels {_names(MSD_CHANNELS)}; got shape "
            f"{whole.array.shape}. Give a folder, or four files by role."
        )
    channels = {role: Volume(whole.array[..., n], whole.affine) for n, role in enumerate(MSD_CHANNELS)}
    names = {role: f"{path} ({MODALITY_NAMES[role]} channel)" for role in MODALITIES}
    for role, volume in channels.items():
        _check_image(volume, names[role])
    files = dict.fromkeys(MODALITIES, str(path))
    if label is not None:
        files["label"] = str(label)
    label_map = None if label is None else _Label(_read_3d(label), str(label), "msd")
    return _assemble({role: channels[role] for role in MODALITIES}, names, _stem(path.name), label_map, files)


# --- one grid ---


def _assemble(
    volumes: dict[str, Volume], names: dict[str, str], case_id: str, label: _Label | None, files: dict[str, str]
) -> Case:
    """Put four checked images and a label on the reference grid."""
    reference_role = choose_reference(volumes)
    reference = volumes[reference_role]
    warnings = _skull_warning(volumes)
    for role, volume in volumes.items():
        warnings += _grid_warnings(volume, reference, MODALITY_NAMES[role], names[role], names[reference_role])
    # Axes lie in memory as in the files (i fastest), which makes the copy ten times faster than the C order.
    images = np.empty((len(MODALITIES), *reversed(reference.shape)), np.float32).transpose(0, 3, 2, 1)

    def place(role: str) -> None:
        images[MODALITIES.index(role)] = resample(volumes[role], reference.shape, reference.affine, order=1).array

    with ThreadPoolExecutor(len(MODALITIES)) as pool:
        list(pool.map(place, MODALITIES))
    whole_steps = all(same_lattice(volume, reference.shape, reference.affine) for volume in volumes.values())
    originals = () if whole_steps else tuple(volumes[role] for role in MODALITIES)
    if label is None:
        return Case(case_id, images, reference.affine, None, None, tuple(warnings), files, originals)
    warnings += _grid_warnings(label.volume, reference, "The label", label.name, names[reference_role])
    classes, convention = _classes(label, reference)
    warnings += _coding_warning(classes, images[MODALITIES.index("t1c")], convention)
    return Case(case_id, images, reference.affine, classes, convention, tuple(warnings), files, originals)


def choose_reference(volumes: Mapping[str, Volume]) -> str:
    """The role whose image has the smallest voxels: the case will be on its grid."""
    # Rounded: equal voxel sizes differ in the last digits of their affines.
    return min(REFERENCE_ORDER, key=lambda role: round(float(np.prod(volumes[role].spacing_mm)), 3))


def _classes(label: _Label, reference: Volume) -> tuple[np.ndarray, str]:
    try:
        classes, convention = decode_label(label.volume.array, label.convention)
    except ValueError as error:
        raise ValueError(f"{label.name}: {error}") from error
    on_grid = resample(Volume(classes, label.volume.affine), reference.shape, reference.affine, order=0)
    return on_grid.array, convention


def _grid_warnings(volume: Volume, reference: Volume, what: str, name: str, reference_name: str) -> list[str]:
    """What will be done to bring a volume to the reference grid; nothing where it is on it.

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
        spacing = " x ".join(f"{s:.3g}" for s in volume.spacing_mm)
        done = f"{what} ({name}, {volume.shape[0]} x {volume.shape[1]} x {volume.shape[2]} voxels of {spacing} mm) was"
        done += " resampled to"
    sentences = [f"{done} the grid of {reference_name}."]
    if share < GOOD_OVERLAP:
        sentences.append(f"{name} and {reference_name} share only {share:.0%} of their fields of view: check them.")
    return sentences


def _skull_warning(volumes: dict[str, Volume]) -> list[str]:
    zero_share = {role: 1 - np.count_nonzero(volume.array) / volume.array.size for role, volume in volumes.items()}
    bare = [role for role, share in zero_share.items() if share < LEAST_ZERO_SHARE]
    if not bare:
        return []
    return [
        f"{_names(bare)}: the background is not zero; the images do not seem to be skull-stripped. "
        "The network expects skull-stripped images, so the result cannot be trusted."
    ]


def _coding_warning(classes: np.ndarray, t1c: np.ndarray, convention: str) -> list[str]:
    necrosis, enhancing = _where(t1c, classes == 1), _where(t1c, classes == 3)
    if min(necrosis.size, enhancing.size) < LEAST_VOXELS_COMPARED or np.median(enhancing) > np.median(necrosis):
        return []
    return [
        f"The label, read as {convention}, may be coded otherwise: enhancing tumour is not brighter than the "
        "necrotic core on T1ce."
    ]
