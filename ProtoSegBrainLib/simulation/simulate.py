"""A procedural brain with a glioma: licence-free, BraTS-like cases made by formulas and seeded noise, from no patient.

Each image is a sum of tissue fractions (anatomy.py) times that tissue's intensity, then blur, noise and bias field.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.simulation.anatomy import BRATS_SHAPE, Array, Head, Tumour, draw_head, smooth_noise

logger = logging.getLogger(__name__)

DESCRIPTION = "simulated by ProtoSegBrainLib"  # in the header of every file
WARNING = "This case is simulated: it is made by formulas, shows no patient and says nothing about clinical accuracy."

# Order t1n, t1c, t2w, t2f, about in standard deviations of the brain's intensities; chosen so that means and spreads
# per tissue (k-means clusters of the healthy brain) and tumour class agree with those of real, z-scored BraTS cases.
INTENSITY = {
    "CSF": (-2.0, -1.4, 3.3, -1.9),
    "GM": (-0.45, -0.40, 0.05, 0.15),
    "deep GM": (0.20, 0.05, -0.25, 0.05),
    "WM": (0.65, 0.35, -0.50, -0.30),
    "dura": (-2.2, 0.8, -1.6, -1.5),
    "vessel": (-0.60, 3.60, -0.50, -0.50),
    "ED": (-0.25, -0.20, 1.00, 1.45),
    "NCR": (-0.80, -0.40, 1.85, 1.60),
    "ET": (-0.25, 1.85, 1.10, 1.60),
    "low-grade core": (-0.75, -0.50, 1.80, 1.35),
}
BRAIN_MEAN = (520.0, 610.0, 460.0, 380.0)  # int16 units per modality
BRAIN_SD = (105.0, 125.0, 120.0, 90.0)


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate.

    Attributes:
        tumour: "high_grade" (necrosis, enhancing rim, oedema), "low_grade" (no enhancement) or None (a healthy brain).
        noise: Standard deviation of the noise, in standard deviations of the brain's intensities.
        bias: Standard deviation of the logarithm of the smooth bias field.
    """

    tumour: Tumour | None = "high_grade"
    noise: float = 0.12
    bias: float = 0.05


def simulate_case(
    seed: int, shape: tuple[int, int, int] = BRATS_SHAPE, config: SimulationConfig = SimulationConfig()
) -> Case:
    """Make one simulated case; the same arguments give the same case.

    Args:
        seed: Chooses head, tumour and noise; any integer >= 0.
        shape: Grid (X, Y, Z) of 1 mm voxels. A grid smaller than the BraTS one holds a proportionally smaller head.
        config: Kind of tumour, noise and bias field.

    Returns:
        A case on the BraTS grid and affine (LPS order, 1 mm): images float32 with whole numbers as in int16 files and 0
        outside the brain, label uint8 classes.

    Raises:
        ValueError: If the seed is negative, an axis is shorter than 16 voxels, or the kind of tumour is unknown.
    """
    check_simulation(seed, shape, config.tumour)
    rng = np.random.default_rng(seed)
    head = draw_head(rng, shape, config.tumour)
    x, y, z = head.space.slices
    images, label = np.zeros((4, *shape), np.float32), np.zeros(shape, np.uint8)
    images[:, x, y, z] = _images(rng, head, config)
    label[x, y, z] = head.label
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = shape[1] - 1
    return Case(
        case_id=f"simulated_{seed}",
        images=images,
        affine=affine,
        label=label,
        label_convention="brats2020",
        warnings=(WARNING,),
        files={},
    )


def write_case(case: Case, folder: Path | str) -> Path:
    """Write a simulated case with BraTS 2021 names and labels 1/2/4 into `folder`/`case_id`, and return that folder.

    Images are int16; every header says "simulated" in its `descrip` field.

    Raises:
        FileExistsError: If the case's folder exists and is not empty.
    """
    target = new_folder(Path(folder) / case.case_id)
    arrays = dict(zip(("t1", "t1ce", "t2", "flair"), case.images.astype(np.int16), strict=True))
    if case.label is not None:
        arrays["seg"] = encode_label(case.label, "brats2020")
    for name, array in arrays.items():
        path = target / f"{case.case_id}_{name}.nii.gz"
        write_volume(path, Volume(array, case.affine), description=DESCRIPTION)
    logger.info("simulated case written to %s", target)
    return target


def new_folder(folder: Path) -> Path:
    """Make the folder of a case; one that is there must be empty."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} already holds files; expected a new or empty folder for {folder.name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_simulation(seed: int, shape: tuple[int, int, int], tumour: str | None) -> None:
    """Refuse what no brain can be drawn of, before time is spent on it."""
    if seed < 0:
        raise ValueError(f"seed: expected an integer >= 0, got {seed}")
    if len(shape) != 3 or min(shape) < 16:
        raise ValueError(f"shape: expected three axes of at least 16 voxels, got {shape}")
    if tumour not in ("high_grade", "low_grade", None):
        raise ValueError(f"tumour: expected 'high_grade', 'low_grade' or None, got {tumour!r}")


def tissue_signals(rng: np.random.Generator, head: Head) -> list[tuple[Array, np.random.Generator]]:
    """The brain in each modality as it is before a scanner sees it, in standard deviations of its intensities.

    Returns:
        For t1n, t1c, t2w, t2f: (x, y, z), and the generator of all that is random in this modality.
    """
    space, fractions = head.space, head.fractions
    tumour = sum(fractions.get(name, np.float32(0)) for name in ("ED", "NCR", "ET", "low-grade core"))
    patchy = smooth_noise(rng, space, 5) * (np.float32(0.10) + np.float32(0.32) * tumour)

    def signal(modality: int, own: np.random.Generator) -> tuple[Array, np.random.Generator]:
        image = patchy * np.float32((0.6, 0.4, 0.9, 1.1)[modality]) + np.float32(0.22) * smooth_noise(own, space, 7)
        for name, share in fractions.items():
            image += share * np.float32(INTENSITY[name][modality] + 0.1 * own.standard_normal())
        return image, own

    with ThreadPoolExecutor(4) as pool:  # each modality has its own random numbers, so the order does not matter
        return list(pool.map(signal, range(4), rng.spawn(4)))


def _images(rng: np.random.Generator, head: Head, config: SimulationConfig) -> Array:
    """(4, x, y, z) whole numbers, 0 outside the brain and at least 1 inside."""
    brain = head.brain

    def acquire(modality: int, image: Array, own: np.random.Generator) -> Array:
        image = np.where(brain, image, np.float32(-2.5))  # the skull-stripped edge is partly dark
        image = ndimage.gaussian_filter(image, own.uniform(0.4, 0.8, 3), truncate=2.5)
        image += np.float32(config.noise) * own.standard_normal(brain.shape, dtype=np.float32)
        gain = np.exp(np.float32(config.bias) * smooth_noise(own, head.space, 50))
        image = (np.float32(BRAIN_MEAN[modality]) + np.float32(BRAIN_SD[modality]) * image) * gain
        return np.where(brain, np.clip(np.rint(image), 1, 4095), 0)

    signals, generators = zip(*tissue_signals(rng, head), strict=True)
    with ThreadPoolExecutor(4) as pool:
        return np.stack(list(pool.map(acquire, range(4), signals, generators)))
