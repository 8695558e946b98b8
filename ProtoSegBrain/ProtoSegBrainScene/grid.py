"""Voxels and affines of the library <-> nodes of a scene.

The library has arrays (I, J, K) and a 4x4 affine, voxel index -> RAS mm. MRML has arrays (K, J, I) and a matrix
IJKToRAS, perhaps under transforms; what is read here is in world coordinates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ProtoSegBrainLib.images.volume import Volume


def matrixOf(affine: np.ndarray) -> Any:
    """A vtkMatrix4x4 with the numbers of a 4x4 affine."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(affine, np.float64).ravel())
    return matrix


def affineOfMatrix(matrix: Any) -> np.ndarray:
    """4x4 float64 with the numbers of a vtkMatrix4x4."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def worldAffineOf(node: Any) -> np.ndarray:
    """4x4, voxel of a volume node -> world RAS mm, linear parent transforms included.

    Raises:
        ValueError: A parent transform is not linear, so that no affine can say it.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return toWorld(node) @ affineOfMatrix(matrix)


def toWorld(node: Any) -> np.ndarray:
    """4x4, what the parent transforms of a node do to RAS positions; the identity without any.

    Raises:
        ValueError: They are not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise ValueError(
            f"{node.GetName()} lies under the transform {parent.GetName()}, which is not linear. Harden it, or "
            "resample the volume, first (module Transforms, or Resample Image)."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return affineOfMatrix(matrix)


def addVolume(scene: Any, className: str, name: str, volume: Volume) -> Any:
    """A new volume node with the voxels of a library volume, (I, J, K) or (I, J, K, C)."""
    node = scene.AddNewNodeByClass(className, name)
    node.SetIJKToRASMatrix(matrixOf(volume.affine))
    setVoxels(node, volume.array)
    return node


def setVoxels(node: Any, array: np.ndarray) -> None:
    """Give a volume node the voxels of an array (I, J, K) or (I, J, K, C); its geometry stays."""
    image = node.GetImageData()
    fits = image is not None and image.GetDimensions() == array.shape[:3]
    image = image if fits else vtk.vtkImageData()
    image.SetDimensions(*array.shape[:3])
    image.GetPointData().SetScalars(_scalars(array))
    if fits:
        image.Modified()
        node.Modified()
    else:
        node.SetAndObserveImageData(image)


def orientedImage(volume: Volume, start: tuple[int, int, int] = (0, 0, 0)) -> Any:
    """A vtkOrientedImageData: voxels of a part of a grid that begins at ``start``; the affine is the whole grid's."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*[end for a, n in zip(start, volume.shape, strict=True) for end in (a, a + n - 1)])
    image.GetPointData().SetScalars(_scalars(volume.array))
    image.SetImageToWorldMatrix(matrixOf(volume.affine))
    return image


def voxelsOf(node: Any) -> np.ndarray:
    """A view of a volume node's voxels, (I, J, K) or (I, J, K, C).

    Raises:
        ValueError: The node has no image.
    """
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise ValueError(f"{node.GetName()} has no image; load it again or choose another volume.")
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    turned = scalars.reshape(*reversed(image.GetDimensions()), *scalars.shape[1:])
    return turned.transpose(2, 1, 0, *range(3, turned.ndim))


def _scalars(array: np.ndarray) -> Any:
    """A vtkDataArray of its own with the voxels, i fastest."""
    turned = np.ascontiguousarray(array.transpose(2, 1, 0, *range(3, array.ndim)))
    return numpy_to_vtk(turned.reshape(-1, *array.shape[3:]), deep=True)
