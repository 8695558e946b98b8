"""What an input was when it was segmented, in a line of text: a checksum of its voxels, and where it lay.

It stays the same when a scene is saved and loaded: Slicer keeps right-handed grids only, and turns the third axis of
others when it reads them, so that is done here first.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.volume import Volume, begin_at, corners
from ProtoSegBrainScene.grid import voxelsOf
from ProtoSegBrainScene.moves import asScanned

TOLERANCE_MM = 0.01
"""By which a corner of an image may have moved: a file does not keep every digit of a place."""

_checksums: dict[str, tuple[Any, int]] = {}
"""By the ID of a volume node: what its image was, and its checksum."""


def fingerprintOf(node: Any) -> str:
    """The checksum of a volume node's voxels and its affine to world RAS mm as it was scanned, in numbers.

    Raises:
        ValueError: It has no image, or lies under a transform that is not linear.
    """
    volume = _rightHanded(node)
    return " ".join([str(_checksumOf(node, volume)), *(repr(float(value)) for value in volume.affine[:3].ravel())])


def fingerprintsOf(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Those of volume nodes by modality, as far as they are given."""
    return {role: fingerprintOf(node) for role, node in inputs.items() if node is not None}


def hasChanged(node: Any, fingerprint: str) -> bool:
    """Whether the voxels of a volume node are others, or lie elsewhere, than when the fingerprint was taken."""
    checksum, *affine = fingerprint.split()
    try:
        volume = _rightHanded(node)
    except ValueError:  # bent, or without an image by now
        return True
    shift = volume.affine[:3] - np.array(affine, np.float64).reshape(3, 4)
    isMoved = np.abs(shift @ corners(volume.shape)).max() > TOLERANCE_MM
    return bool(isMoved) or _checksumOf(node, volume) != int(checksum)


def _rightHanded(node: Any) -> Volume:
    voxels, affine = voxelsOf(node), asScanned(node)
    if np.linalg.det(affine[:3, :3]) > 0:
        return Volume(voxels, affine)
    return Volume(voxels[:, :, ::-1], begin_at(affine, (0, 0, voxels.shape[2] - 1)) @ np.diag([1.0, 1.0, -1.0, 1.0]))


def _checksumOf(node: Any, volume: Volume) -> int:
    """Counted anew where the image was modified since: no two moments have the same modification time."""
    was = (node.GetImageData().GetMTime(), volume.array.strides)
    if _checksums.get(node.GetID(), (None, 0))[0] != was:
        checksum = 0
        for part in np.moveaxis(volume.array, 2, 0):  # as it lies in memory
            checksum = zlib.crc32(np.ascontiguousarray(part.T), checksum)
        _checksums[node.GetID()] = (was, checksum)
    return _checksums[node.GetID()][1]
