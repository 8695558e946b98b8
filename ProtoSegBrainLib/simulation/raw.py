"""A raw study of the simulated head: four series as a scanner gives them, with skull, each moved and on its own grid.

Brain, tumour and label are those of ``simulate_case`` with the same seed, and the truth of everything is known.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Grid, Volume, begin_at, resample
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.simulation.anatomy import BRATS_SHAPE, Array, Head, Space, Tumour, draw_head, smooth_noise
from ProtoSegBrainLib.simulation.dicom_series import SeriesHeader, Syntax, write_series
from ProtoSegBrainLib.simulation.scanner import Protocol, moved, planned, scanned, turned, with_noise
from ProtoSegBrainLib.simulation.simulate import DESCRIPTION, check_simulation, new_folder, tissue_signals
from ProtoSegBrainLib.simulation.skull import Part, draw_layers, room_around

logger = logging.getLogger(__name__)

# Signal of what lies around the brain, in the order t1n, t1c, t2w, t2f; the mean of the brain is 1.
SIGNAL = {
    "air": (0.0, 0.0, 0.0, 0.0),
    "skin": (0.75, 0.90, 0.60, 0.70),
    "fat": (1.75, 1.75, 1.35, 1.40),
    "muscle": (0.52, 0.60, 0.38, 0.50),
    "gland": (1.00, 1.25, 0.90, 1.00),
    "bone": (0.08, 0.08, 0.07, 0.08),
    "marrow": (1.15, 1.20, 0.80, 0.85),
    "mucosa": (0.55, 1.20, 1.30, 1.20),
    "sclera": (0.40, 0.60, 0.30, 0.40),
    "vitreous": (0.28, 0.28, 2.30, 0.25),
    "lens": (0.75, 0.75, 0.35, 0.60),
    "nerve": (1.05, 1.00, 0.85, 0.95),
    "cord": (1.10, 1.05, 0.85, 0.95),
    "fluid": (0.30, 0.30, 2.10, 0.30),
    "dura": (0.40, 1.00, 0.35, 0.50),
    "vessel": (0.35, 2.00, 0.15, 0.25),
}
# One standard deviation of the brain's intensities as a share of their mean, and the stored value of that mean.
CONTRAST = (0.32, 0.42, 0.35, 0.33)
STORED = (420.0, 380.0, 310.0, 260.0)

PROTOCOLS = {
    "t1n": Protocol("sagittal", 0.9, 5.0, (230, 230, 165), (-8, -20)),
    "t1c": Protocol("axial", 1.0, 1.0, (240, 256, 186), (-4, -9)),
    "t2w": Protocol("axial", 0.8, 5.0, (230, 230, 155), (-4, 2)),
    "t2f": Protocol("axial", 0.9, 4.0, (230, 230, 156), (-4, 2)),
}
HEADERS = {
    "localiser": SeriesHeader(
        "localizer", 1, 8.6, 4.0, sequence=("GR",), image_type=("ORIGINAL", "PRIMARY", "M", "ND")
    ),
    "t1n": SeriesHeader("T1 SE sag", 2, 550, 12, protocol="t1_se_sag"),
    "t2w": SeriesHeader("T2 TSE tra", 3, 4800, 95, protocol="t2_tse_tra"),
    "t2f": SeriesHeader("FLAIR tra", 4, 9000, 112, 2500, ("SE", "IR"), protocol="t2_tirm_tra_dark-fluid"),
    "adc": SeriesHeader(
        "ep2d_diff_ADC", 6, 5200, 80, sequence=("EP",), image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND")
    ),
    "t1c": SeriesHeader(
        "T1 MPRAGE tra KM",
        8,
        1900,
        2.7,
        900,
        ("GR", "IR"),
        "gadobutrol",
        "t1_mprage_tra_iso",
        extra={"MRAcquisitionType": "3D"},
    ),
}
TEXTURE = 0.07
PLANNED_DEGREES = 3.0
TILT_DEGREES = 8.0


@dataclass(frozen=True)
class RawConfig:
    """What to simulate.

    Attributes:
        tumour: "high_grade", "low_grade" or None, as in ``SimulationConfig``.
        voxel_mm: Voxel size of T1ce, on whose grid the head is drawn; pixels of the others grow with it. With 2 a head
            of the same size has an eighth of the voxels.
        shift_mm: How far the head may have moved between T1ce and another series.
        turn_degrees: How far it may have turned.
        noise: Standard deviation of the noise, as a share of the brain's mean.
        bias: Standard deviation of the logarithm of the smooth bias field.
    """

    tumour: Tumour | None = "high_grade"
    voxel_mm: float = 1.0
    shift_mm: float = 15.0
    turn_degrees: float = 5.0
    noise: float = 0.035
    bias: float = 0.08


@dataclass(frozen=True, eq=False)
class RawStudy:
    """Four series and the truth.

    Attributes:
        seed: That made it.
        volumes: By role, each on its own grid: int16.
        motions: By role, 4x4 in RAS mm: from where the header puts a point to where T1ce has it.
        label: Classes (uint8) on the grid of T1ce.
        brain: The brain (uint8) on the grid of T1ce.
    """

    seed: int
    volumes: Mapping[str, Volume]
    motions: Mapping[str, np.ndarray]
    label: Volume
    brain: Volume

    @property
    def case_id(self) -> str:
        """Names the files; begins with "simulated"."""
        return f"simulated_raw_{self.seed}"


def simulate_raw(seed: int, config: RawConfig = RawConfig()) -> RawStudy:
    """Make one raw study; the same arguments give the same study.

    Args:
        seed: Chooses head, tumour, motion and noise; any integer >= 0.
        config: Kind of tumour, size of voxels, motion, noise.

    Raises:
        ValueError: If the seed is negative, the kind of tumour unknown, or the voxels are not 0.8 to 4 mm.
    """
    if not 0.8 <= config.voxel_mm <= 4:
        raise ValueError(f"voxel_mm: expected 0.8 to 4, got {config.voxel_mm}")
    nx, ny, nz = (ceil(n / config.voxel_mm) for n in BRATS_SHAPE)
    check_simulation(seed, (nx, ny, nz), config.tumour)
    rng, around = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    head = draw_head(rng, (nx, ny, nz), config.tumour)
    room, inner = room_around(head.space)
    signals = _signals(rng, around, head, room, inner)
    turn = turned(around, TILT_DEGREES)
    position = _position(room, turn, config.voxel_mm)
    middle = position @ [*_middle(room), 1]
    motions = {role: moved(around, middle[:3], config.turn_degrees, config.shift_mm) for role in MODALITIES}
    motions["t1c"] = np.eye(4)
    grids = {}
    for role, protocol in PROTOCOLS.items():
        there = np.linalg.inv(motions[role]) @ middle
        grids[role] = planned(protocol, there[:3], turn @ turned(around, PLANNED_DEGREES), config.voxel_mm)
    grids["t1c"] = _grid_of_t1ce(room, position, config.voxel_mm)

    def scan(role: str, signal: Array, own: np.random.Generator) -> Volume:
        signal *= np.exp(np.float32(config.bias) * smooth_noise(own, room, 70))
        image = scanned(Volume(signal, position), motions[role], grids[role], PROTOCOLS[role].slice_mm)
        scale = STORED[MODALITIES.index(role)]
        return replace(image, array=with_noise(own, image.array * np.float32(scale), config.noise * scale))

    with ThreadPoolExecutor(2) as pool:
        volumes = dict(zip(MODALITIES, pool.map(scan, MODALITIES, signals, around.spawn(4)), strict=True))
    box = begin_at(position, [part.start for part in inner])
    label, brain = (
        resample(Volume(part.astype(np.uint8), box), grids["t1c"].shape, grids["t1c"].affine, order=0)
        for part in (head.label, head.brain)
    )
    return RawStudy(seed, volumes, motions, label, brain)


def describe_raw(study: RawStudy) -> list[dict[str, Any]]:
    """Of each series ``modality``, ``size``, ``spacing_mm``, and how far the middle of the brain moved and turned."""
    where = np.argwhere(study.brain.array).mean(axis=0)
    middle = study.brain.affine @ [*where, 1]
    described = []
    for role, volume in study.volumes.items():
        motion = study.motions[role]
        turn = np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1))
        described.append(
            {
                "modality": MODALITY_NAMES[role],
                "size": volume.shape,
                "spacing_mm": tuple(round(mm, 3) for mm in volume.spacing_mm),
                "moved_mm": float(np.linalg.norm((motion @ middle - middle)[:3])),
                "turned_degrees": float(np.rad2deg(turn)),
            }
        )
    return described


def write_raw(study: RawStudy, folder: Path | str) -> Path:
    """Write a raw study into `folder`/`case_id` as NIfTI files with BraTS names, and return that folder.

    In ``truth`` lie the label (1/2/4) and the brain, both on the grid of T1ce, and the motions.

    Raises:
        FileExistsError: If the study's folder exists and is not empty.
    """
    target = new_folder(Path(folder) / study.case_id)
    names = dict(zip(("t1", "t1ce", "t2", "flair"), MODALITIES, strict=True))
    for name, role in names.items():
        write_volume(target / f"{study.case_id}_{name}.nii.gz", study.volumes[role], description=DESCRIPTION)
    _write_truth(study, target)
    logger.info("simulated raw study written to %s", target)
    return target


def write_raw_dicom(study: RawStudy, folder: Path | str, syntax: Syntax = "explicit") -> Path:
    """Write a raw study into `folder`/`case_id` as DICOM, a folder for each series, and return that folder.

    There is a localiser and a computed map, too, as in a real study. The truth is written as by ``write_raw``.

    Raises:
        FileExistsError: If the study's folder exists and is not empty.
        ImportError: pydicom is not installed.
    """
    target = new_folder(Path(folder) / study.case_id)
    volumes = {**study.volumes, "localiser": _localiser(study.volumes["t1c"]), "adc": _adc(study.volumes["t2w"])}
    for name, header in HEADERS.items():
        extra = {**header.extra, "PatientName": ""}
        header = replace(header, patient_id=f"SIMULATED-{study.seed}", seed=study.seed, extra=extra)
        write_series(target / f"series_{header.number}", volumes[name], header, syntax=syntax)
    _write_truth(study, target)
    logger.info("simulated raw study written to %s", target)
    return target


def _localiser(t1c: Volume) -> Volume:
    """Three sagittal slices 20 mm apart, of coarse pixels."""
    nx, step = t1c.shape[0], round(20 / t1c.spacing_mm[0])
    # Its columns run to the back, its rows downwards, its slices to the left.
    shape = (t1c.shape[1] // 2, t1c.shape[2] // 2, 3)
    axes = np.array([[0, 0, step, nx // 2 - step], [2, 0, 0, 0], [0, -2, 0, t1c.shape[2] - 1], [0, 0, 0, 1.0]])
    return Volume(resample(t1c, shape, t1c.affine @ axes, order=0).array, t1c.affine @ axes)


def _adc(t2w: Volume) -> Volume:
    """Diffusion in 1e-6 mm²/s as a map would have it, of every second pixel: about what T2 is bright of."""
    coarse = t2w.array[::2, ::2]
    signal = ndimage.gaussian_filter(coarse.astype(np.float32), (1, 1, 0)) / STORED[MODALITIES.index("t2w")]
    values = np.where(signal > 0.3, np.clip(800 * signal, 0, 3000), 0)
    return Volume(values.astype(np.int16), t2w.affine @ np.diag([2, 2, 1, 1]))


def _write_truth(study: RawStudy, target: Path) -> None:
    """Label and brain on the grid of T1ce, and what takes each series from where its header puts it to T1ce."""
    folder = target / "truth"
    folder.mkdir()
    label = replace(study.label, array=encode_label(study.label.array, "brats2020"))
    for name, volume in {"seg": label, "brain_mask": study.brain}.items():
        write_volume(folder / f"{study.case_id}_{name}.nii.gz", volume, description=DESCRIPTION)
    motions = {role: motion.tolist() for role, motion in study.motions.items()}
    text = json.dumps({"case_id": study.case_id, "simulated": True, "to_t1c_ras_mm": motions}, indent=1)
    (folder / "motions.json").write_text(text + "\n", encoding="utf-8")


def _signals(
    rng: np.random.Generator, around: np.random.Generator, head: Head, room: Space, inner: Part
) -> list[Array]:
    """The head in each modality, (x, y, z) in the room; the mean of the brain is 1."""
    in_room = np.zeros(room.points[0].shape, bool)
    in_room[inner] = head.brain
    images = [np.zeros(in_room.shape, np.float32) for _ in MODALITIES]
    for layer in draw_layers(around, room, in_room):
        for image, value in zip(images, SIGNAL[layer.tissue], strict=True):
            painted = image[layer.part]
            painted += layer.share * (np.float32(value) - painted)
    texture = 1 + np.float32(TEXTURE) * smooth_noise(around, room, 4)
    # Seen from outside, fluid lies on the brain where a stripped image has a dark edge.
    shares = {**head.fractions, "CSF": head.fractions["CSF"] + head.fractions["dura"]}
    shares["dura"] = np.zeros_like(shares["dura"])
    brains = tissue_signals(rng, replace(head, fractions=shares))
    fading = np.clip((room.points[2] + 138) / 35, 0, 1)  # the coil does not reach further down
    for image, (brain, _), contrast in zip(images, brains, CONTRAST, strict=True):
        image *= texture
        value = np.clip(1 + np.float32(contrast) * brain, np.float32(0.05), None)
        image[inner] = np.where(head.brain, value, image[inner])
        ndimage.gaussian_filter(image, 0.5, truncate=2.5, output=image)
        image *= fading
    return images


def _middle(room: Space) -> np.ndarray:
    """Voxel (fractional) of the middle of the brain."""
    lines = (np.moveaxis(points, axis, 0)[:, 0, 0] for axis, points in enumerate(room.points))
    return np.array([-line[0] * (len(line) - 1) / (line[-1] - line[0]) for line in lines])


def _position(room: Space, turn: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Affine of the room: the middle of the brain in the middle of the scanner, the head tilted."""
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-voxel_mm, -voxel_mm, voxel_mm])
    affine[:3, 3] = -affine[:3, :3] @ _middle(room)
    return affine


def _grid_of_t1ce(room: Space, position: np.ndarray, voxel_mm: float) -> Grid:
    """Whole voxels of the room, so that the label is exact."""
    protocol = PROTOCOLS["t1c"]
    nx, ny, nz = (round(mm / voxel_mm) for mm in protocol.field_mm)
    back, up = protocol.middle_mm
    start = np.rint(_middle(room) + np.array([0, back, up]) / voxel_mm - (np.array([nx, ny, nz]) - 1) / 2)
    return Grid((nx, ny, nz), begin_at(position, start))
