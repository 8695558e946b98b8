"""NIfTI and Analyze, from bytes: the voxels, where they lie, and remarks on both; the header to write."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np

from ProtoSegBrainLib.images.volume import Volume, corners

Geometry = Literal["sform", "qform"]
"""The two positions that a NIfTI header may hold."""

HEADER_BYTES = 348
HEADER_BYTES_2 = 540
RESULT_MARK = "ProtoSegBrain"
"""Begins the description in the header of every image of a result."""
DESCRIPTION = slice(148, 228)
"""Its bytes in a header of NIfTI-1 and Analyze."""
MOST_DISAGREEMENT_MM = 1.0
NO_POSITION = "the header does not say how the head lies; check that left and right are not exchanged."
UNITS = {1: "metres", 3: "micrometres"}
"""Codes of ``xyzt_units`` that are not millimetres, 2, or unknown, 0."""
SAFE_FACTOR = 1e-15, 1e15
"""Scale factors between these keep whole numbers of 16 bits well inside single precision."""


@dataclass(frozen=True)
class Header:
    """What the header of a NIfTI file says.

    Attributes:
        fields: As nibabel reads them.
        voxels_at: Offset of the voxels in their file.
        of_pair: The voxels lie in a file of their own.
    """

    fields: Any
    voxels_at: int
    of_pair: bool


def nifti_header(data: bytes) -> Header:
    """The header at the beginning of a file.

    Raises:
        ValueError: Too short; nibabel's own errors where its fields make no sense.
    """
    import nibabel as nib

    if len(data) < HEADER_BYTES:
        raise ValueError(f"expected at least a header of {HEADER_BYTES} bytes, the file has {len(data)}")
    kinds: tuple[Any, Any]
    if HEADER_BYTES_2 in _sizes(data):
        kinds, size, magic = (nib.nifti2.Nifti2Header, nib.nifti2.Nifti2PairHeader), HEADER_BYTES_2, data[4:8]
    else:
        kinds, size, magic = (nib.nifti1.Nifti1Header, nib.nifti1.Nifti1PairHeader), HEADER_BYTES, data[344:348]
    of_pair = magic.startswith(b"ni")
    fields = kinds[of_pair](data[:size])
    at = int(fields["vox_offset"])
    return Header(fields, at if of_pair else max(at, size + 4), of_pair)


def is_nifti(head: bytes) -> bool:
    """Whether a file begins like NIfTI."""
    sizes = _sizes(head)
    marks = {HEADER_BYTES: head[344:347], HEADER_BYTES_2: head[4:7]}
    return any(size in sizes and mark in (b"n+1", b"ni1", b"n+2", b"ni2") for size, mark in marks.items())


def is_analyze(head: bytes) -> bool:
    """Whether a file begins like the header of Analyze 7.5, of which NIfTI is the successor."""
    return HEADER_BYTES in _sizes(head) and len(head) >= HEADER_BYTES and not is_nifti(head)


def nifti_volume(header: Header, data: bytes, name: str, geometry: Geometry | None) -> Volume:
    """The image of a header and of the bytes of the file with the voxels.

    Raises:
        ValueError: Fewer voxels than the header promises, or numbers that are neither whole nor real.
    """
    fields = header.fields
    shape, dtype = fields.get_data_shape(), fields.get_data_dtype()
    if dtype.kind not in "biuf":
        kind = "colours (RGB)" if dtype.fields else "complex numbers" if dtype.kind == "c" else str(dtype)
        raise ValueError(f"expected whole or real numbers, got {kind}")
    count = int(np.prod(shape, dtype=np.int64))
    end = header.voxels_at + count * dtype.itemsize
    if len(data) < end:
        raise ValueError(f"the header promises {end} bytes, the file has {len(data)}")
    stored = np.frombuffer(data, dtype, count, header.voxels_at).reshape(shape, order="F")
    array, on_numbers = _scaled(stored.astype(dtype.newbyteorder("="), copy=False), fields, name)
    if len(data) > end:
        on_numbers.append(f"{name}: {len(data) - end} bytes follow the voxels; they were ignored.")
    affine, on_position = _position(fields, name, geometry)
    return Volume(trimmed(array), affine, (*on_numbers, *on_position, *_unit_remarks(fields, name)))


def analyze_volume(header: bytes, voxels: bytes, position: bytes, name: str) -> Volume:
    """The image of an Analyze pair; ``position`` is SPM's ``.mat`` file, b"" where there is none."""
    import nibabel as nib

    parts = {"header": header, "image": voxels, "mat": position}
    image = nib.Spm2AnalyzeImage.from_file_map(
        {part: nib.FileHolder(fileobj=BytesIO(content)) for part, content in parts.items()}
    )
    remark = (
        f"{name}: Analyze files do not say how the head lies; the voxels were taken to run from right to left, from "
        "the back to the front and upwards. Check that left and right are not exchanged."
    )
    return Volume(trimmed(np.asarray(image.dataobj)), image.affine, () if position else (remark,))


def trimmed(array: np.ndarray) -> np.ndarray:
    """Without the axes of length one behind the third."""
    return array.reshape(array.shape[:3] + tuple(n for n in array.shape[3:] if n != 1))


def new_header(array: np.ndarray, affine: np.ndarray, description: str, slope: float | None) -> bytes:
    """Header of a NIfTI-1 file whose voxels follow."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_sform(affine, code=1)
    try:
        header.set_qform(affine, code=1, strip_shears=False)
    except nib.spatialimages.HeaderDataError:  # sheared axes: a quaternion cannot say it, the sform does
        header.set_qform(None, code=0)
        header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(slope, None if slope is None else 0.0)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + b"\0" * 4


def _sizes(head: bytes) -> tuple[int, int]:
    """The first number of a file, the size of its header in NIfTI, in either byte order."""
    return int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")


def _scaled(stored: np.ndarray, fields: Any, name: str) -> tuple[np.ndarray, list[str]]:
    """The numbers that the stored ones stand for, and remarks."""
    slope, offset = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or not np.isfinite(slope):  # the format's word for: as they are
        return stored, []
    remarks = []
    if not np.isfinite(offset):
        remarks.append(f"{name}: the offset of intensities (scl_inter) is {offset}; 0 was taken.")
        offset = 0.0
    if slope < 0:
        remarks.append(f"{name}: the scale factor in the header (scl_slope) is negative, {slope:g}.")
    if (slope, offset) == (1, 0):
        return stored, remarks
    small = stored.dtype.kind in "biu" and stored.dtype.itemsize <= 2
    is_safe = SAFE_FACTOR[0] < abs(slope) < SAFE_FACTOR[1] and abs(offset) < SAFE_FACTOR[1]
    kind = np.float32 if small and is_safe else np.float64
    scaled = stored * kind(slope)
    return scaled + kind(offset) if offset else scaled, remarks


def _position(fields: Any, name: str, geometry: Geometry | None) -> tuple[np.ndarray, list[str]]:
    """Voxel index -> RAS mm, and remarks: which of the header's positions holds, and why."""
    found = {form: _form(fields, form) for form in ("sform", "qform") if int(fields[f"{form}_code"]) > 0}
    usable = {form: affine for form, affine in found.items() if affine is not None}
    remarks = [f"{name}: the {form} in the header is no position (damaged)." for form in found if form not in usable]
    if not usable:
        remarks.append(f"{name}: {NO_POSITION}")
        return fields.get_base_affine(), remarks
    if geometry and geometry not in found:
        remarks.append(f"{name}: there is no {geometry} in the header; the {next(iter(usable))} was taken.")
    taken = geometry if geometry in usable else next(iter(usable))
    if len(usable) == 2:
        apart = (usable["sform"] - usable["qform"]) @ corners((*fields.get_data_shape(), 1, 1)[:3])
        most = float(np.linalg.norm(apart[:3], axis=0).max())
        (other,) = usable.keys() - {taken}
        if most > MOST_DISAGREEMENT_MM:
            remarks.append(
                f"{name}: the two positions in the header, sform and qform, are up to {most:.3g} mm apart; the {taken} "
                f"was taken (--geometry {other} takes the other)."
            )
    return usable[taken], remarks


def _form(fields: Any, form: str) -> np.ndarray | None:
    """A position in a header; None where it is none."""
    try:
        affine = np.asarray(fields.get_sform() if form == "sform" else fields.get_qform(), np.float64)
    except Exception:  # the quaternion's parser raises what its numbers lead it to
        return None
    is_usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) >= 1e-9
    return affine if is_usable else None


def _unit_remarks(fields: Any, name: str) -> list[str]:
    unit = UNITS.get(int(fields["xyzt_units"]) & 7)
    return [f"{name}: the header says that lengths are in {unit} (xyzt_units); they were read as mm."] if unit else []
