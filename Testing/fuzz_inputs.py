"""Inputs for ``fuzz.py``: each a plan, drawn at random and simple enough to be shrunk; and the files it describes.

A plan is a list of departures from the plain phantom, field by field. A field at its default departs from nothing, so
the simplest plan that still fails is found by setting fields back.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own name for itself
from scipy import ndimage
from scipy.spatial.transform import Rotation

from Testing.phantom import AFFINE, EDGE, ROLES, phantom

RADIUS_MM = 34.0
"""Of a ball around the phantom's brain."""
NAMES = {
    "BraTS 2021": ("x_flair", "x_t1", "x_t1ce", "x_t2"),
    "BraTS 2023": ("x-t2f", "x-t1n", "x-t1c", "x-t2w"),
    "BIDS": ("sub-01_FLAIR", "sub-01_T1w", "sub-01_ce-gadolinium_T1w", "sub-01_T2w"),
    "UPENN-GBM": ("U-1_11_FLAIR", "U-1_11_T1", "U-1_11_T1GD", "U-1_11_T2"),
    "nnU-Net": ("x_0003", "x_0000", "x_0001", "x_0002"),
    "hospital": ("dark-fluid", "T1", "T1_KM", "T2"),
    "umlauts": ("Müller_ö flair", "Müller_ö t1", "Müller_ö t1ce", "Müller_ö t2"),
}
SUFFIXES = (".nii.gz", ".nii", ".hdr", ".mgz", ".nrrd", ".mha")
DTYPES = ("int16", "uint8", "uint16", "int32", "float32", "float64", ">i2", ">f4")
GAINS = (1.0, 1e-6, 0.01, 37.0, 1e6)
DAMAGES = ("cut", "bits", "header bits", "garbage", "empty", "tail", "plain in .gz", "a folder", "removed")
HEADERS = ("microns", "metres", "no forms", "other qform", "nan", "singular", "zero pixdim", "nan slope", "huge")
VOXELS = ("nan outside", "nan inside", "inf", "zero", "constant", "noise", "one slice", "4-D", "negative", "half")
PLACES = ("a file", "below a file", "of the case", "empty name", "long", "umlauts", "again", "closed stdout")
VALUES: tuple[Any, ...] = (
    *(None, [], {}, [1, 2], {"a": 1}, "text", "", -1, 0, 0.5, 1e300, 10**9, 10**400, True, math.nan, math.inf),
    *([[[]]], "\x00\n", "DELETE"),
)
UNHARMED = ("tail", "plain in .gz")
"""Damage that leaves the voxels whole."""


@dataclass(frozen=True)
class Plan:
    """One input; the fields after the first two say how it departs from the plain phantom.

    Attributes:
        kind: The row of the table it counts in.
        seed: Of what is random in making it.
        turn_degrees: Of the grid, around each axis.
        order: Of the axes in the files.
        flipped: Axes that run the other way in the files.
        spacing_mm: Of the voxels.
        moved_mm: The whole scan, in space.
        margin: Voxels around the brain on each side.
        dtype: Of the files' voxels.
        gain: By which all intensities are multiplied.
        names: A key of ``NAMES``.
        suffix: Of the files.
        damage: One of ``DAMAGES``, to the image ``which``; "" none.
        header: One of ``HEADERS``, of the image ``which``.
        voxels: One of ``VOXELS``, of the image ``which``.
        which: Number of that image.
        changed: Places in a card or a result, as shares of all its places, and numbers of the ``VALUES`` put there.
        place: One of ``PLACES``, the output folder.
        killed_after: Share of a run's usual time after which it is killed; None: not at all.
    """

    kind: str
    seed: int
    turn_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    order: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    moved_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    margin: int = 2
    dtype: str = "int16"
    gain: float = 1.0
    names: str = "BraTS 2021"
    suffix: str = ".nii.gz"
    damage: str = ""
    header: str = ""
    voxels: str = ""
    which: int = 0
    changed: tuple[tuple[float, int], ...] = ()
    place: str = ""
    killed_after: float | None = None

    @property
    def must_be_right(self) -> bool:
        """Whether a good result is owed: nothing but geometry, format, names, scale was changed."""
        unharmed = self.damage in ("", *UNHARMED) and not self.header and not self.voxels
        return unharmed and not self.changed and self.place in ("", "umlauts", "closed stdout")


# -- drawing -------------------------------------------------------------------------------------------------------


def draw(kind: str, seed: int) -> Plan:
    """A random plan of a kind, the same for the same seed."""
    rng = random.Random(f"{kind} {seed}")
    return Plan(kind, seed, **KINDS[kind](rng))


def _geometry(rng: random.Random) -> dict[str, Any]:
    oblique = rng.random() < 0.6
    return {
        "turn_degrees": tuple(rng.uniform(-40, 40) if oblique else 0.0 for _ in range(3)),
        "order": tuple(rng.sample(range(3), 3)),
        "flipped": tuple(rng.random() < 0.5 for _ in range(3)),
        "spacing_mm": tuple(round(math.exp(rng.uniform(math.log(0.6), math.log(2.5))), 3) for _ in range(3)),
        "moved_mm": tuple(rng.choice([0.0, rng.uniform(-300, 300)]) for _ in range(3)),
        "margin": rng.randint(0, 20),
    }


def _format(rng: random.Random) -> dict[str, Any]:
    return {
        **(_geometry(rng) if rng.random() < 0.3 else {}),
        "dtype": rng.choice(DTYPES),
        "gain": rng.choice(GAINS),
        "suffix": rng.choice(SUFFIXES),
    }


def _names(rng: random.Random) -> dict[str, Any]:
    return {"names": rng.choice([*NAMES]), "suffix": rng.choice(SUFFIXES)}


def _damage(rng: random.Random) -> dict[str, Any]:
    return {"damage": rng.choice(DAMAGES), "which": rng.randrange(4), "suffix": rng.choice(SUFFIXES)}


def _header(rng: random.Random) -> dict[str, Any]:
    return {"header": rng.choice(HEADERS), "which": rng.randrange(4), "suffix": rng.choice((".nii", ".nii.gz"))}


def _voxels(rng: random.Random) -> dict[str, Any]:
    return {"voxels": rng.choice(VOXELS), "which": rng.randrange(4), "dtype": "float32"}


def _changed(rng: random.Random) -> dict[str, Any]:
    number = rng.choice((1, 1, 2))
    return {"changed": tuple((rng.random(), rng.randrange(len(VALUES))) for _ in range(number))}


KINDS = {
    "geometry": _geometry,
    "format": _format,
    "names": _names,
    "damage": _damage,
    "header": _header,
    "voxels": _voxels,
    "card": _changed,
    "result": _changed,
    "output": lambda rng: {"place": rng.choice(PLACES)},
    "kill": lambda rng: {"killed_after": rng.uniform(0.3, 1.1)},
}
"""What a plan of each kind departs in."""


# -- files ---------------------------------------------------------------------------------------------------------


def write_case(plan: Plan, folder: Path) -> np.ndarray:
    """Write the four images of a plan into a folder of their own; returns their affine."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(plan.seed)
    images, affine = _on_grid(plan)
    for number, (role, name) in enumerate(zip(ROLES, NAMES[plan.names], strict=True)):
        image = images[role]
        if plan.voxels and number == plan.which:
            image = _with_voxels(image, plan.voxels, rng)
        path = folder / f"{name}{plan.suffix}"
        _write(path, image, affine, plan)
        if plan.header and number == plan.which:
            _change_header(path, plan.header)
        if plan.damage and number == plan.which:
            damage(path, plan.damage, rng)
    return affine


def change(content: Any, plan: Plan) -> Any:
    """A copy of a JSON file's content with the plan's values in its places."""
    content = copy.deepcopy(content)
    for share, number in plan.changed:
        places = list(_places(content))
        *above, last = places[int(share * len(places))]
        part = content
        for name in above:
            part = part[name]
        if VALUES[number] == "DELETE":
            del part[last]
        else:
            part[last] = VALUES[number]
    return content


def damage(path: Path, kind: str, rng: np.random.Generator) -> None:
    """Spoil a file."""
    content = bytearray(path.read_bytes())
    if kind in ("bits", "header bits"):
        end = len(content) if kind == "bits" else min(len(content), 352)
        for place in rng.integers(0, end, 8):
            content[place] ^= 1 << int(rng.integers(8))
    elif kind == "cut":
        content = content[: int(rng.integers(0, len(content)))]
    elif kind == "garbage":
        content = bytearray(rng.bytes(len(content)))
    elif kind == "empty":
        content = bytearray()
    elif kind == "tail":
        content += rng.bytes(100)
    elif kind == "plain in .gz":
        content = bytearray(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind != "removed":
        path.write_bytes(content)


def _places(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in JSON's lists and mappings; of long lists the first few."""
    members = content.items() if isinstance(content, dict) else enumerate(content[:4])
    for name, member in members:
        yield (*above, name)
        if isinstance(member, (dict, list)):
            yield from _places(member, (*above, name))


def _on_grid(plan: Plan) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The phantom on the plan's grid, float64 by role, and its affine, moved in space."""
    turn = Rotation.from_euler("xyz", plan.turn_degrees, degrees=True).as_matrix()
    axes = turn @ AFFINE[:3, :3] @ np.diag(plan.spacing_mm)
    axes = axes[:, plan.order] * np.where(plan.flipped, -1, 1)
    spacing = np.linalg.norm(axes, axis=0)
    shape = np.ceil(2 * RADIUS_MM / spacing).astype(int) + 2 * plan.margin
    affine = np.eye(4)
    affine[:3, :3] = axes
    middle = AFFINE @ np.array([*[(EDGE - 1) / 2] * 3, 1])
    affine[:3, 3] = middle[:3] - axes @ ((shape - 1) / 2)
    between = np.linalg.inv(AFFINE) @ affine
    images = {}
    for role, image in phantom(plan.seed).items():
        brain = _sampled(image != 0, between, shape, 0)
        images[role] = _sampled(image, between, shape, 1) * brain * plan.gain
    moved = affine.copy()
    moved[:3, 3] += plan.moved_mm
    return images, moved


def _sampled(image: np.ndarray, between: np.ndarray, shape: np.ndarray, order: int) -> np.ndarray:
    source = image.astype(np.float64)
    return ndimage.affine_transform(source, between[:3, :3], between[:3, 3], tuple(shape), order=order)


def _with_voxels(image: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    brain, image = image != 0, image.copy()
    middle = tuple(slice(n // 3, n // 2) for n in image.shape)
    if kind in ("nan outside", "nan inside", "inf"):
        place = ~brain if kind == "nan outside" else middle
        image[place] = np.inf if kind == "inf" else np.nan
    elif kind in ("zero", "constant", "noise"):
        image[:] = {"zero": 0, "constant": 7, "noise": rng.normal(size=image.shape)}[kind]
    elif kind == "negative":
        image *= -1
    elif kind == "half":
        image[: image.shape[0] // 2] = 0
    return image[:, :, :1] if kind == "one slice" else np.stack([image] * 3, -1) if kind == "4-D" else image


def _write(path: Path, image: np.ndarray, affine: np.ndarray, plan: Plan) -> None:
    stored, slope = _stored(image, plan.dtype)
    if path.suffix in (".nrrd", ".mha"):
        _write_itk(path, (stored * slope).astype(np.float32), affine)
    elif path.suffix == ".mgz":
        nib.save(nib.MGHImage((stored * slope).astype(np.float32), affine), path)
    else:
        kind = nib.Nifti1Pair if path.suffix == ".hdr" else nib.Nifti1Image
        file = kind(stored, affine)
        file.header.set_slope_inter(slope, 0)
        nib.save(file, path)


def _stored(image: np.ndarray, dtype: str) -> tuple[np.ndarray, float]:
    """Voxels of a type, and the slope that gives the image back: whole numbers use the range of their type."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return image.astype(kind), 1.0
    largest = float(np.abs(image).max())
    slope = largest / min(np.iinfo(kind).max, 30000) if largest > 0 else 1.0
    return np.clip(np.rint(image / slope), np.iinfo(kind).min, np.iinfo(kind).max).astype(kind), slope


def _write_itk(path: Path, image: np.ndarray, affine: np.ndarray) -> None:
    """SimpleITK counts in LPS, k first."""
    if image.ndim != 3:
        image = image[..., 0]
    file = sitk.GetImageFromArray(np.ascontiguousarray(image.T))
    lps = np.diag([-1.0, -1, 1]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    file.SetSpacing(spacing.tolist())
    file.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    file.SetOrigin(lps[:, 3].tolist())
    sitk.WriteImage(file, str(path))


def _change_header(path: Path, kind: str) -> None:
    file = nib.load(path)
    header, voxels = file.header, np.asanyarray(file.dataobj)
    affine = file.affine.copy()
    content = nib.Nifti1Image(voxels, affine, header)
    if kind in ("microns", "metres"):
        factor = 1000 if kind == "microns" else 0.001
        content = nib.Nifti1Image(voxels, np.diag([factor, factor, factor, 1]) @ affine)
        content.header.set_xyzt_units("micron" if kind == "microns" else "meter")
    elif kind == "no forms":
        content.set_sform(None, 0)
        content.set_qform(None, 0)
    elif kind == "other qform":
        affine[:3, 3] += 20
        content.set_qform(affine, 1)
    elif kind == "nan slope":
        content.header["scl_slope"], content.header["scl_inter"] = 0.0, np.inf
    nib.save(content, path)
    fields = {"nan": (280, np.full(12, np.nan)), "singular": (280, np.zeros(12)), "zero pixdim": (80, np.zeros(3))}
    if kind in fields:
        _patch(path, fields[kind][0], fields[kind][1].astype("<f4").tobytes())
    elif kind == "huge":
        _patch(path, 42, np.array([32767] * 3, "<i2").tobytes())


def _patch(path: Path, place: int, content: bytes) -> None:
    """Overwrite bytes of a NIfTI header."""
    packed = path.suffix == ".gz"
    whole = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    whole[place : place + len(content)] = content
    path.write_bytes(gzip.compress(bytes(whole), 1) if packed else bytes(whole))


def write_changed(source: Path, target: Path, plan: Plan) -> None:
    """Copy a JSON file with the plan's values in its places."""
    target.write_text(json.dumps(change(json.loads(source.read_text(encoding="utf-8")), plan)), encoding="utf-8")


def copy_model(source: Path, target: Path, plan: Plan) -> None:
    """Weights as they are, beside a card with the plan's values in its places."""
    shutil.copy(source, target)
    write_changed(source.with_suffix(".json"), target.with_suffix(".json"), plan)
