"""Image files: read any of the formats below, write NIfTI; what is none of them is named.

A file's content decides how it is read, its name only which files of a folder are images. Formats that say where voxels
lie in LPS (NRRD, MetaImage) are converted to RAS on reading. What reads files is imported inside functions, so that a
user interface can use the rest before it is installed.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.nifti import (
    DESCRIPTION,
    NO_POSITION,
    RESULT_MARK,
    Geometry,
    analyze_volume,
    is_analyze,
    is_nifti,
    new_header,
    nifti_header,
    nifti_volume,
    trimmed,
)
from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume


@dataclass(frozen=True)
class Format:
    """A format that is read.

    Attributes:
        name: For people.
        suffixes: Of its files, in lower case; of files in two parts, of the one with the header.
        voxel_suffixes: Of the other part.
    """

    name: str
    suffixes: tuple[str, ...]
    voxel_suffixes: tuple[str, ...] = ()


NIFTI = Format("NIfTI", (".nii.gz", ".nii", ".nii.bz2", ".nii.xz"))
PAIR = Format("NIfTI or Analyze in two files", (".hdr", ".hdr.gz"), (".img", ".img.gz"))
NRRD = Format("NRRD", (".nrrd", ".nhdr"), (".raw", ".raw.gz", ".raw.bz2"))
META = Format("MetaImage", (".mha", ".mhd"), (".raw", ".zraw"))
FREESURFER = Format("FreeSurfer", (".mgz", ".mgh"))
MINC = Format("MINC 2", (".mnc",))
FORMATS = (NIFTI, PAIR, NRRD, META, FREESURFER, MINC)
SUFFIXES = tuple(suffix for kind in FORMATS for suffix in kind.suffixes)
"""By which files are known as images; ``image_files`` lists a folder's."""
WRITTEN_SUFFIXES = (".nii.gz", ".nii")

HEAD_BYTES = 4096
"""Of a file tell its format."""
MGH_MAGIC, HDF5_MAGIC = b"\0\0\0\1", b"\x89HDF"
META_LINE = re.compile(rb"\s*(ObjectType|NDims|Comment|ID|CompressedData|BinaryData)\s*=")

PICTURE = "give the scan itself, not a picture of it"
CONVERT = "convert it to NIfTI (.nii.gz)"
UNPACK = "unpack it first"
DICOM = "a DICOM file", "give the folder of its study to segment --case, or convert the series to NIfTI with dcm2niix"
FOREIGN = (
    (128, b"DICM", *DICOM),
    (0, b"\x08\0\x05\0", *DICOM),
    (0, b"\x08\0\0\0", *DICOM),
    (0, b"\x89PNG", "a PNG picture", PICTURE),
    (0, b"\xff\xd8\xff", "a JPEG picture", PICTURE),
    (0, b"GIF8", "a GIF picture", PICTURE),
    (0, b"BM", "a BMP picture", PICTURE),
    (0, b"II*\0", "a TIFF picture", CONVERT),
    (0, b"MM\0*", "a TIFF picture", CONVERT),
    (0, b"%PDF", "a PDF document", PICTURE),
    (0, b"PK\3\4", "a zip archive", UNPACK),
    (0, b"Rar!", "a RAR archive", UNPACK),
    (0, b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed by Zstandard", UNPACK),
    (0, b"\x93NUMPY", "an array of NumPy, which has no position", CONVERT),
    (0, b"MATLAB", "a file of MATLAB", CONVERT),
    (0, HDF5_MAGIC, "an HDF5 file", CONVERT),
    (0, b"CDF", "a NetCDF file (MINC 1)", CONVERT),
    (0, b"# vtk DataFile", "a VTK file", CONVERT),
    (0, b"# === DATA DESCRIPTION", "a PAR file of Philips", CONVERT),
    (0, b"\ntype", "a HEAD file of AFNI", CONVERT),
    (0, b"ENVI", "an ENVI header", CONVERT),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch the file (git lfs pull)"),
    (0, b"/annex/", "a pointer of git-annex, not the file itself", "fetch the file (datalad get)"),
    (0, b"\0\5\x16\7", "a side file of macOS", "give the file whose name lacks the ._ in front"),
    (0, b"<", "a web page or XML text, perhaps of a failed download", "give the image itself"),
    (0, b"{", "a JSON text", "give the image that it describes"),
)
"""Files that are not read: at which byte stands what, what that is, what to do."""


def read_volume(path: str | os.PathLike[str], geometry: Geometry | None = None) -> Volume:
    """Read an image file of any of ``FORMATS``; the array keeps the file's type unless a scale factor applies.

    Axes of length one behind the third are dropped. What a user should know of the reading is in ``remarks``.

    Args:
        path: Of the file; of files in two parts, of either.
        geometry: Which position of a NIfTI header holds; None: the sform where it is set.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not a readable, whole image of one of these formats; the message names the file.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected an image file.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    path = _with_header(path)
    try:
        volume = _reader(path, geometry)(path)
        if volume.array.dtype.kind not in "biuf":
            raise ValueError(f"expected whole or real numbers, got {volume.array.dtype}")
        return volume
    except (ImportError, _ForeignError):
        raise
    except Exception as error:  # the parsers raise whatever a damaged file leads them to
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise ValueError(f"{path} cannot be read (unreadable, truncated or of another format): {reason}") from error


def write_volume(
    path: str | os.PathLike[str], volume: Volume, *, description: str = "", slope: float | None = None
) -> None:
    """Write NIfTI: ``.nii``, or ``.nii.gz`` by a fast compressor. The file appears whole or not at all.

    Args:
        path: Where to; the folder must exist.
        volume: bool is stored as uint8, float16 as float32, anything else as it is.
        description: Free text of the header, 79 characters at most.
        slope: A reader multiplies the stored numbers by it.

    Raises:
        ValueError: Another ending, or a type that NIfTI has not.
    """
    path = Path(path)
    if not path.name.lower().endswith(WRITTEN_SUFFIXES):
        raise ValueError(f"{path}: expected a name ending in .nii.gz or .nii.")
    array = volume.array
    stored = np.dtype({"bool": np.uint8, "float16": np.float32}.get(array.dtype.name, array.dtype))
    array = array.astype(stored.newbyteorder("="), copy=False)  # the header is in the machine's byte order
    header = new_header(array, volume.affine, description, slope)
    data = array.ravel(order="F").data.cast("B")  # no copy where i is fastest in memory
    parts: list[bytes | memoryview] = [header, data]
    if path.name.lower().endswith(".gz"):
        from isal import isal_zlib

        gzip = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 16 + isal_zlib.MAX_WBITS)
        parts = [gzip.compress(header), gzip.compress(data), gzip.flush()]
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_result(path: str | os.PathLike[str]) -> bool:
    """Whether an image says in its header that it is part of a result of ProtoSegBrain; only the header is read."""
    head = _head(Path(path))
    return is_nifti(head) and head[DESCRIPTION].startswith(RESULT_MARK.encode())


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files of a folder by their names, sorted; of files in two parts, the one with the header.

    Voxels whose header is missing are listed, too, so that somebody hears of them.
    """
    files = [file for file in Path(folder).iterdir() if not file.name.startswith(".")]  # "._" twins of macOS, too
    found = [file for file in files if file.name.lower().endswith(SUFFIXES)]
    alone = [f for f in files if f.name.lower().endswith(PAIR.voxel_suffixes) and _with_header(f) == f]
    return sorted(found + alone)


# --- which format ---


class _ForeignError(ValueError):
    """A file of a format that is not read; the message says all."""


Reader = Callable[[Path], Volume]


def _reader(path: Path, geometry: Geometry | None) -> Reader:
    """What reads this file, by its content, or else by its name.

    Raises:
        _ForeignError: Nothing does.
    """
    head, name = _head(path), path.name.lower()
    read_nifti, read_minc = partial(_read_nifti, geometry=geometry), partial(_read_itk, image_io="MINCImageIO")
    by_content: tuple[tuple[bool, Reader], ...] = (
        (is_nifti(head), read_nifti),
        (is_analyze(head), _read_analyze),
        (head.startswith(b"NRRD0"), _read_nrrd),
        (META_LINE.match(head) is not None, _read_meta),
        (head.startswith(MGH_MAGIC), _read_freesurfer),
        (head.startswith(HDF5_MAGIC) and name.endswith(MINC.suffixes), read_minc),
    )
    reader = next((reader for fits, reader in by_content if fits), None)
    if reader is not None:
        return reader
    _refuse_foreign(path, head)
    by_name: dict[Format, Reader] = {NRRD: _read_nrrd, META: _read_meta, FREESURFER: _read_freesurfer, MINC: read_minc}
    return next((reader for kind, reader in by_name.items() if name.endswith(kind.suffixes)), read_nifti)


def _refuse_foreign(path: Path, head: bytes) -> None:
    """Name what a file is whose content is of none of the formats."""
    for at, magic, what, advice in FOREIGN:
        if head[at:].startswith(magic):
            raise _ForeignError(f"{path} cannot be read: it is {what}; {advice}.")
    if path.name.lower().endswith(PAIR.voxel_suffixes):
        raise _ForeignError(f"{path} cannot be read: it holds voxels alone; its header ({path.stem}.hdr) is missing.")
    if not path.name.lower().endswith(SUFFIXES):
        known = ", ".join(f"{kind.name} ({' '.join(kind.suffixes)})" for kind in FORMATS)
        what = "is empty" if not path.stat().st_size else "is of no format that is known here"
        raise _ForeignError(f"{path} cannot be read: it {what}; expected {known}.")


def _with_header(path: Path) -> Path:
    """Of an image in two files the one with the header, whichever was named."""
    twins = [_twin(path, kind.voxel_suffixes, kind.suffixes) for kind in FORMATS]
    return next((twin for twin in twins if twin is not None), path)


def _twin(path: Path, suffixes: Sequence[str], other_suffixes: Sequence[str]) -> Path | None:
    """The file beside it whose name differs in the suffix, if its own is one of these and that file is there."""
    for suffix in suffixes:
        if path.name.lower().endswith(suffix):
            stem = path.name[: -len(suffix)]
            names = (stem + spell(other) for other in other_suffixes for spell in (str.lower, str.upper))
            return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    return None


def _head(path: Path) -> bytes:
    """The first bytes of a file, decompressed; b"" where that fails, which whoever reads the file will find."""
    with path.open("rb") as file:
        head = file.read(4 * HEAD_BYTES)
        head += file.read(1 << 20) if head.startswith(b"BZh") else b""  # which comes in blocks of up to 900 kB
    try:
        while (decompressor := _decompressor(head)) is not None:
            head = decompressor.decompress(head, 4 * HEAD_BYTES)
    except Exception:  # each decompressor has its own
        return b""
    return head[:HEAD_BYTES]


# --- compression ---


def _decompressor(data: bytes) -> Any:
    """For what begins like compressed data; None for anything else."""
    if data.startswith(b"\x1f\x8b"):
        from isal import isal_zlib

        return isal_zlib.decompressobj(16 + isal_zlib.MAX_WBITS)
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor() if data.startswith(b"\xfd7zXZ\0") else None


def _content(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """What a file holds, decompressed as its first bytes say, and a remark where more follows.

    Raises:
        EOFError: It ends too early; errors of the decompressor where it is damaged.
    """
    data, rest = path.read_bytes(), b""
    while not rest and _decompressor(data) is not None:
        data, rest = _members(data)
        rest = rest.strip(b"\0")  # padding
    remark = f"{path.name}: {len(rest)} bytes follow the compressed data; they were ignored."
    return data, (remark,) if rest else ()


def _members(data: bytes) -> tuple[bytes, bytes]:
    """What the pieces of compressed data hold, put together, and what follows them."""
    parts: list[bytes] = []
    while (decompressor := _decompressor(data)) is not None:
        try:
            part = decompressor.decompress(data)
            if not decompressor.eof:
                raise EOFError("the compressed data end too early")
        except Exception:
            if not parts:
                raise
            break  # no piece; if it was one, voxels are missing
        parts.append(part)
        data = decompressor.unused_data
    return b"".join(parts), data


# --- each format ---


def _read_nifti(path: Path, geometry: Geometry | None) -> Volume:
    data, remarks = _content(path)
    header = nifti_header(data)
    if header.of_pair:
        data, more = _content(_voxel_file(path))
        remarks += more
    volume = nifti_volume(header, data, path.name, geometry)
    return replace(volume, remarks=(*remarks, *volume.remarks))


def _read_analyze(path: Path) -> Volume:
    voxels, remarks = _content(_voxel_file(path))
    position = _twin(path, PAIR.suffixes, (".mat",))
    volume = analyze_volume(_content(path)[0], voxels, position.read_bytes() if position else b"", path.name)
    return replace(volume, remarks=(*remarks, *volume.remarks))


def _voxel_file(header: Path) -> Path:
    voxels = _twin(header, PAIR.suffixes, PAIR.voxel_suffixes)
    if voxels is None:
        raise FileNotFoundError(f"it is a header alone, and the file with the voxels ({header.stem}.img) is missing")
    return voxels


def _read_freesurfer(path: Path) -> Volume:
    import nibabel as nib

    data, remarks = _content(path)
    image = nib.MGHImage.from_bytes(data)
    header: Any = image.header
    if not header["goodRASFlag"]:
        remarks += (f"{path.name}: {NO_POSITION}",)
    stored = np.asarray(image.dataobj)
    return Volume(trimmed(stored.astype(stored.dtype.newbyteorder("="), copy=False)), image.affine, remarks)


def _read_meta(path: Path) -> Volume:
    placed = re.search(rb"(?im)^(TransformMatrix|Rotation|Orientation)\s*=", _head(path))
    remarks = () if placed else (f"{path.name}: {NO_POSITION}",)
    return replace(_read_itk(path, "MetaImageIO"), remarks=remarks)


def _read_nrrd(path: Path) -> Volume:
    """SimpleITK reads all of NRRD but bzip2, which is unpacked for it."""
    header = re.split(rb"\r?\n\r?\n", _head(path))[0]
    remarks = []
    if not re.search(rb"(?im)^space directions:", header):
        remarks.append(f"{path.name}: {NO_POSITION}")
    units = {unit.decode() for line in re.findall(rb"(?im)^space units:(.*)$", header) for unit in line.split()}
    if units - {'"mm"', '""', "???"}:
        said = ", ".join(sorted(units))
        remarks.append(f"{path.name}: the header says that lengths are in {said}; they were read as mm.")
    if not re.search(rb"(?im)^encoding:\s*bz(ip)?2", header):
        return replace(_read_itk(path, "NrrdImageIO"), remarks=tuple(remarks))
    detached = re.search(rb"(?im)^data ?file:[ \t]*(.+?)\s*$", header)
    voxels = path.parent.joinpath(detached[1].decode()).read_bytes() if detached else b""
    voxels = voxels or re.split(rb"\r?\n\r?\n", path.read_bytes(), maxsplit=1)[1]
    header = re.sub(rb"(?im)^data ?file:.*\n?", b"", header)
    header = re.sub(rb"(?im)^encoding:.*$", b"encoding: raw", header).rstrip()
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "unpacked.nrrd"
        unpacked.write_bytes(header + b"\n\n" + _members(voxels)[0])
        return replace(_read_itk(unpacked, "NrrdImageIO"), remarks=tuple(remarks))


def _read_itk(path: Path, image_io: str) -> Volume:
    import SimpleITK  # slow to load and needed for these formats only

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    image = reader.Execute()
    components = image.GetNumberOfComponentsPerPixel()
    array = SimpleITK.GetArrayFromImage(image)
    n = image.GetDimension()
    if n < 3:
        raise ValueError(f"expected three axes, got {n}")
    # From (t,) z, y, x (, components) to x, y, z (, t or components).
    array = np.moveaxis(array, -1, 0).T if components > 1 else array.T
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (n, n)) * image.GetSpacing())[:3, :3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return Volume(trimmed(array), LPS_TO_RAS @ affine)
