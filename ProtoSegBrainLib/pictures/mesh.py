"""Surfaces of the tumour in the brain, as plotly draws them in a browser."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, REGION_NAMES, REGIONS
from ProtoSegBrainLib.result.lesion import crop

STEP = 2
"""Voxels per edge of a surface's triangles."""
BLUR_VOXELS = 1.0
"""Takes the steps between voxels off the surfaces; volumes are measured on the voxels themselves."""
SURFACES = (
    (REGION_NAMES["WT"], REGIONS["WT"], "ED", 0.15),
    ("Necrotic / non-enhancing core", (CLASSES.index("NCR"),), "NCR", 1.0),
    (REGION_NAMES["ET"], REGIONS["ET"], "ET", 0.35),
)
"""Name, classes inside, class whose colour it has, opacity."""


def surfaces(label: Volume, brain: Volume) -> list[dict[str, Any]]:
    """Plotly traces, ready for JSON: the brain and each part of the tumour that is there; positions in RAS mm."""
    traces = [_trace("Brain", brain, (150, 150, 150), 0.07, step=1), _sides(brain)]
    tumour = crop(label.array, label.affine)
    if tumour is not None:
        for name, members, owner, opacity in SURFACES:
            part = Volume(np.isin(tumour.array, members), tumour.affine)
            traces.append(_trace(name, part, CLASS_COLOURS[CLASSES.index(owner)], opacity, STEP))
    return [trace for trace in traces if trace]


def _trace(name: str, mask: Volume, colour: tuple[int, int, int], opacity: float, step: int) -> dict[str, Any] | None:
    """A plotly ``mesh3d``; None where there is nothing to show."""
    from skimage.measure import marching_cubes  # loads on first use

    tight = crop(mask.array, mask.affine)
    if tight is None:
        return None
    margin = 2 + step  # the blurred surface stays inside
    blurred = ndimage.gaussian_filter(np.pad(tight.array, margin).astype(np.float32), BLUR_VOXELS)
    if blurred.max() <= 0.5:  # a few voxels, which the blur would lose
        blurred = np.pad(tight.array, margin).astype(np.float32)
    if blurred[::step, ::step, ::step].max() <= 0.5:  # a part that lies between the places that are looked at
        step = 1
    vertices, faces, _, _ = marching_cubes(blurred, 0.5, step_size=step)
    positions = (vertices - margin) @ tight.affine[:3, :3].T + tight.affine[:3, 3]
    corners = dict(zip("xyz", (_typed(column, np.float32) for column in positions.T), strict=True))
    triangles = dict(zip("ijk", (_typed(column, np.uint32) for column in faces.T), strict=True))
    look = {"color": f"rgb{colour}", "opacity": opacity, "hoverinfo": "name", "flatshading": False}
    return {"type": "mesh3d", "name": name, "showlegend": True, **look, **corners, **triangles}


def _sides(brain: Volume) -> dict[str, Any] | None:
    """Letters around the brain."""
    tight = crop(brain.array, brain.affine)
    if tight is None:
        return None
    voxels = np.array(tight.shape)
    faces = [(axis, end) for axis in range(3) for end in (1.1, -0.1)]
    index = np.tile((voxels - 1) / 2, (len(faces), 1))
    for row, (axis, end) in zip(index, faces, strict=True):
        row[axis] = end * voxels[axis]
    positions = np.round(index @ tight.affine[:3, :3].T + tight.affine[:3, 3], 1)
    letters = {"type": "scatter3d", "mode": "text", "text": list("RLAPSI"), "hoverinfo": "skip", "showlegend": False}
    return {**letters, **dict(zip("xyz", positions.T.tolist(), strict=True))}


def _typed(values: np.ndarray, kind: type) -> dict[str, str]:
    """An array in plotly's binary form, a quarter of the size of decimal numbers."""
    array = np.ascontiguousarray(values, np.dtype(kind).newbyteorder("<"))
    return {"dtype": f"{array.dtype.kind}{array.dtype.itemsize}", "bdata": base64.b64encode(array.tobytes()).decode()}
