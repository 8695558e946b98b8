"""A case by hand, its result and its embedding: what points are tried on."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
from by_hand import evidence_for, prediction_for

from ProtoSegBrainLib.correction.embedding import Embedding
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.result.prediction import Prediction

OWNERS = ("background", "NCR", "ED", "ET")
SHAPE = (24, 28, 20)
COARSE = tuple(n // 2 for n in SHAPE)
GRIDS = {
    "straight": np.diag([2.0, 2.0, 2.0, 1.0]),
    "flipped": np.array([[-2.0, 0, 0, 40.0], [0, -2.0, 0, 9.0], [0, 0, 2.0, -7.0], [0, 0, 0, 1.0]]),
    "oblique and anisotropic": nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.2, -0.3, 0.5) @ np.diag([-1.6, 2.1, 3.0]), [24, -28, 10]
    ),
}


def prediction(affine: np.ndarray = GRIDS["straight"]) -> Prediction:
    """A block of ED in background, in a brain that ends two voxels before the image does."""
    maps = np.zeros((4, *COARSE), np.float32)
    maps[0] = 2
    maps[2, 3:7, 4:9, 3:7] = 4
    brain = np.zeros(SHAPE, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    return replace(prediction_for(maps, evidence_for(OWNERS), affine, brain), case_id="pointed")


def embedding(of: Prediction, seed: int = 0) -> Embedding:
    """Three kinds of places: in the block, a third kind at its end, all else; each with a little noise."""
    kinds = np.zeros(COARSE, int)
    kinds[3:7, 4:9, 3:7] = 1
    kinds[3:7, 9:11, 3:7] = 2  # looks like nothing else: missed by the model, say
    vectors = np.eye(4)[:, kinds] + np.random.default_rng(seed).normal(0, 0.02, (4, *COARSE))
    vectors = (vectors / np.linalg.norm(vectors, axis=0)).astype(np.float32)
    return Embedding(of.case_id, vectors, of.similarity_affine, of.model["identity"])


def place(of: Prediction, *voxel: float) -> tuple[float, float, float]:
    """RAS mm of a voxel of the prototypes' grid."""
    r, a, s = (of.similarity_affine @ [*voxel, 1.0])[:3]
    return float(r), float(a), float(s)


def case(of: Prediction) -> Case:
    """Images of the same brain."""
    brain = of.probabilities[0] < 1
    images = np.random.default_rng(0).uniform(1, 2, (4, *brain.shape)).astype(np.float32) * brain
    return Case(of.case_id, images, of.affine)
