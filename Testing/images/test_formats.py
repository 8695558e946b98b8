"""Image files: each format comes back as it was, and what cannot be read is named."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from ProtoSegBrainLib.images.formats import image_files, is_result, read_volume, write_volume
from ProtoSegBrainLib.images.volume import Volume

SHAPE = (7, 9, 6)
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([0.9, 1.1, 3.0]), [-11.0, 7.0, 4.0]
)


@pytest.fixture
def numbers() -> Volume:
    return Volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), OBLIQUE)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_what_is_written_is_read(tmp_path, numbers, name, dtype):
    write_volume(tmp_path / name, Volume((numbers.array % 256).astype(dtype), OBLIQUE), description="simulated")
    back = read_volume(tmp_path / name)
    np.testing.assert_array_equal(back.array, (numbers.array % 256).astype(dtype))
    assert back.array.dtype == dtype
    np.testing.assert_allclose(back.affine, OBLIQUE, atol=1e-5)
    header = nib.load(tmp_path / name).header
    assert (header["sform_code"], header["qform_code"]) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"
    assert bytes(header["descrip"]).startswith(b"simulated")
    np.testing.assert_allclose(header.get_qform(), OBLIQUE, atol=1e-4)
    assert os.listdir(tmp_path) == [name]


def test_channels_and_slope_are_written(tmp_path):
    array = np.arange(48, dtype=np.uint16).reshape(2, 3, 4, 2)
    write_volume(tmp_path / "a.nii.gz", Volume(array, OBLIQUE), slope=0.5)
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii.gz").get_fdata(), array / 2)
    back = read_volume(tmp_path / "a.nii.gz").array
    np.testing.assert_array_equal(back, array / 2)
    assert back.dtype == np.float32


def test_sheared_affine_goes_to_the_sform_alone(tmp_path, numbers):
    sheared = OBLIQUE.copy()
    sheared[0, 1] += 0.3
    write_volume(tmp_path / "a.nii", Volume(numbers.array, sheared))
    header = nib.load(tmp_path / "a.nii").header
    assert header["qform_code"] == 0
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, sheared, atol=1e-5)


def test_types_that_nifti_lacks_are_widened(tmp_path):
    write_volume(tmp_path / "a.nii", Volume(np.ones((2, 2, 2), bool), np.eye(4)))
    assert read_volume(tmp_path / "a.nii").array.dtype == np.uint8
    write_volume(tmp_path / "b.nii", Volume(np.ones((2, 2, 2), np.float16), np.eye(4)))
    assert read_volume(tmp_path / "b.nii").array.dtype == np.float32


def test_foreign_byte_order_is_turned_to_the_headers(tmp_path, numbers):
    swapped = numbers.array.astype(numbers.array.dtype.newbyteorder("S"))
    write_volume(tmp_path / "scan.nii", Volume(swapped, numbers.affine))
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii").array, numbers.array)


def test_failed_writing_leaves_no_file(tmp_path, numbers):
    with pytest.raises(nib.spatialimages.HeaderDataError):
        write_volume(tmp_path / "a.nii.gz", Volume(np.zeros((2, 2, 2), "datetime64[s]"), OBLIQUE))
    with pytest.raises(ValueError, match=r"\.nii\.gz"):
        write_volume(tmp_path / "a.nrrd", numbers)
    (tmp_path / "taken.nii").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_volume(tmp_path / "taken.nii", numbers)
    assert os.listdir(tmp_path) == ["taken.nii"]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_itk_files_come_back_in_ras(tmp_path, numbers, suffix):
    """SimpleITK writes the image at the same place in its own LPS; a NIfTI file it writes is the cross-check."""
    image = SimpleITK.GetImageFromArray(numbers.array.T)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ OBLIQUE
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, numbers.array)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-4)


def test_nrrd_that_says_ras_is_not_flipped_twice(tmp_path):
    data = np.arange(24, dtype=np.uint8)
    text = (
        "NRRD0004\ntype: uint8\ndimension: 3\nspace: right-anterior-superior\nsizes: 2 3 4\n"
        "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (10,20,30)\nkinds: domain domain domain\n"
        "encoding: raw\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(text.encode() + data.tobytes())
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array, data.reshape(2, 3, 4, order="F"))
    np.testing.assert_allclose(volume.affine, nib.affines.from_matvec(np.diag([1, 2, 3]), [10, 20, 30]))


def test_channels_of_itk_files_come_last(tmp_path):
    array = np.arange(48, dtype=np.uint8).reshape(2, 3, 4, 2)
    image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0, 3), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").array, array)


def test_trailing_axis_of_length_one_is_dropped_and_nifti2_read(tmp_path):
    nib.save(nib.Nifti2Image(np.ones((2, 3, 4, 1), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").array.shape == (2, 3, 4)


def test_gzip_is_known_by_content_and_may_have_several_members(tmp_path, numbers):
    write_volume(tmp_path / "a.nii", numbers)
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(data[:300]) + gzip.compress(data[300:]))
    (tmp_path / "c.nii.gz").write_bytes(data)
    for name in ("b.nii.gz", "c.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, numbers.array)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_damaged_file_is_named(tmp_path, numbers, suffix, damage):
    path = tmp_path / f"scan{suffix}"
    if suffix.startswith(".nii"):
        write_volume(path, numbers)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(numbers.array), str(path))
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) * 2 // 3], "empty": b"", "foreign": b"hello " * 200}[damage])
    with pytest.raises(ValueError, match=f"scan{suffix} cannot be read"):
        read_volume(path)


def test_other_bad_files(tmp_path, numbers):
    with pytest.raises(FileNotFoundError, match=r"no\.nii"):
        read_volume(tmp_path / "no.nii")
    (tmp_path / "short.nii").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"short\.nii cannot be read.*348 bytes, the file has 5"):
        read_volume(tmp_path / "short.nii")
    (tmp_path / "scan.dcm").write_bytes(b"")
    with pytest.raises(ValueError, match=r"scan\.dcm.*\.nrrd"):
        read_volume(tmp_path / "scan.dcm")
    nib.save(nib.Nifti1Image(np.ones((4, 4), np.uint8), np.eye(4)), tmp_path / "flat.nii")
    with pytest.raises(ValueError, match=r"flat\.nii.*three axes"):
        read_volume(tmp_path / "flat.nii")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.complex64), np.eye(4)), tmp_path / "complex.nii")
    with pytest.raises(ValueError, match="complex"):
        read_volume(tmp_path / "complex.nii")


# --- files as people have them ---


def of_header(image: nib.Nifti1Image, **fields) -> bytes:
    """The bytes of a NIfTI file with other values in the header."""
    data = bytearray(image.to_bytes())
    header = np.frombuffer(data[:348], image.header.template_dtype).copy()
    for name, value in fields.items():
        header[0][name] = value
    return header.tobytes() + bytes(data[348:])


def image_of(volume: Volume, kind=nib.Nifti1Image):
    image = kind(volume.array, volume.affine)
    if kind is not nib.MGHImage:
        image.set_sform(volume.affine, 1)
        image.set_qform(volume.affine, 1)
    return image


def assert_reads(path, numbers: Volume, remarks: tuple[str, ...] = (), geometry=None) -> None:
    """The numbers and their place come back, with one remark per pattern that names the file."""
    back = read_volume(path, geometry)
    np.testing.assert_array_equal(back.array, numbers.array)
    assert back.array.dtype == numbers.array.dtype
    np.testing.assert_allclose(back.affine, numbers.affine, atol=1e-4)
    assert len(back.remarks) == len(remarks), back.remarks
    for sentence, pattern in zip(back.remarks, remarks, strict=True):
        assert re.search(pattern, sentence), sentence
        assert path.stem.split(".")[0] in sentence


COMPRESSORS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("inside", COMPRESSORS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nii.bz2", ".nii.xz"])
def test_any_compression_under_any_name(tmp_path, numbers, suffix, inside):
    path = tmp_path / f"scan{suffix}"
    data = image_of(numbers).to_bytes()
    path.write_bytes(COMPRESSORS[inside](data))
    assert_reads(path, numbers)
    path.write_bytes(COMPRESSORS[inside](data[:1000]) + COMPRESSORS[inside](data[1000:]))
    assert_reads(path, numbers)


@pytest.mark.parametrize("inside", [".gz", ".bz2", ".xz"])
def test_what_follows_compressed_data_is_said_but_for_padding(tmp_path, numbers, inside):
    path, data = tmp_path / "scan.nii.gz", COMPRESSORS[inside](image_of(numbers).to_bytes())
    path.write_bytes(data + bytes(512))
    assert_reads(path, numbers)
    for garbage in (b"garbage", data[:40], b"\x1f\x8b\x08" + b"x" * 30):
        path.write_bytes(data + garbage)
        assert_reads(path, numbers, (f"{len(garbage)} bytes follow the compressed data",))
    path.write_bytes(gzip.compress(gzip.compress(image_of(numbers).to_bytes())))
    assert_reads(path, numbers)


def test_what_follows_the_voxels_is_said(tmp_path, numbers):
    for name in ("a.nii", "a.nii.gz"):
        data = image_of(numbers).to_bytes() + b"tail"
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        assert_reads(tmp_path / name, numbers, ("4 bytes follow the voxels",))


@pytest.mark.parametrize("inside", COMPRESSORS)
def test_what_ends_too_early_is_an_error(tmp_path, numbers, inside):
    whole = image_of(numbers).to_bytes()
    for name, data in {
        "end.nii": COMPRESSORS[inside](whole[:-1]),
        "cut.nii": COMPRESSORS[inside](whole)[:-1],
        "piece.nii": COMPRESSORS[inside](whole[:600]) + COMPRESSORS[inside](whole[600:])[:-9],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_a_pair_of_files_is_one_image_by_either_name(tmp_path, numbers, kind, packed):
    nib.save(image_of(numbers, kind), tmp_path / "scan.img")
    if packed:
        for suffix in (".hdr", ".img"):
            (tmp_path / f"scan{suffix}.gz").write_bytes(gzip.compress((tmp_path / f"scan{suffix}").read_bytes()))
            (tmp_path / f"scan{suffix}").unlink()
    end = ".gz" * packed
    assert [file.name for file in image_files(tmp_path)] == [f"scan.hdr{end}"]
    assert_reads(tmp_path / f"scan.img{end}", numbers)
    assert_reads(tmp_path / f"scan.hdr{end}", numbers)
    (tmp_path / f"scan.img{end}").unlink()
    with pytest.raises(ValueError, match=r"scan\.hdr.*header alone.*scan.*img\) is missing"):
        read_volume(tmp_path / f"scan.hdr{end}")


def test_voxels_without_their_header_are_listed_and_named(tmp_path, numbers):
    nib.save(image_of(numbers, nib.Nifti1Pair), tmp_path / "scan.img")
    (tmp_path / "scan.hdr").unlink()
    assert [file.name for file in image_files(tmp_path)] == ["scan.img"]
    with pytest.raises(ValueError, match=r"scan\.img cannot be read.*scan\.hdr\) is missing"):
        read_volume(tmp_path / "scan.img")
    (tmp_path / "scan.img").write_bytes(image_of(numbers).to_bytes())  # a single file under that name
    assert_reads(tmp_path / "scan.img", numbers)


def test_an_analyze_file_says_that_it_knows_no_sides(tmp_path, numbers):
    affine = np.diag([-2.0, 3, 4, 1])
    image = nib.AnalyzeImage(numbers.array, affine)
    nib.save(image, tmp_path / "scan.img")
    back = read_volume(tmp_path / "scan.img")
    np.testing.assert_array_equal(back.array, numbers.array)
    assert nib.aff2axcodes(back.affine) == ("L", "A", "S")
    np.testing.assert_allclose(back.spacing_mm, [2, 3, 4])
    (remark,) = back.remarks
    assert re.search(r"scan\.hdr: Analyze files do not say", remark)


def test_spm_keeps_the_position_of_an_analyze_file_beside_it(tmp_path, numbers):
    nib.save(nib.Spm99AnalyzeImage(numbers.array, OBLIQUE), tmp_path / "scan.img")
    assert (tmp_path / "scan.mat").is_file()
    assert_reads(tmp_path / "scan.img", numbers)


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_freesurfer(tmp_path, numbers, suffix, dtype):
    stored = Volume(numbers.array.astype(dtype), OBLIQUE)
    nib.save(image_of(stored, nib.MGHImage), tmp_path / f"scan{suffix}")
    assert_reads(tmp_path / f"scan{suffix}", stored)
    data = (tmp_path / f"scan{suffix}").read_bytes()
    (tmp_path / f"scan{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=rf"scan\{suffix} cannot be read"):
        read_volume(tmp_path / f"scan{suffix}")


def itk_image(volume: Volume):
    image = SimpleITK.GetImageFromArray(volume.array.T)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def nrrd_parts(tmp_path, volume: Volume) -> tuple[bytes, bytes]:
    """Header (without its empty line) and voxels of an uncompressed file."""
    SimpleITK.WriteImage(itk_image(volume), str(tmp_path / "made.nrrd"), useCompression=False)
    header, _, voxels = (tmp_path / "made.nrrd").read_bytes().partition(b"\n\n")
    (tmp_path / "made.nrrd").unlink()
    return header, voxels


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("raw", bytes),
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("bz2", bz2.compress),
        ("ascii", lambda voxels: " ".join(map(str, np.frombuffer(voxels, "<i2"))).encode()),
    ],
)
@pytest.mark.parametrize("detached", [False, True])
def test_every_encoding_of_nrrd(tmp_path, numbers, encoding, encode, detached):
    header, voxels = nrrd_parts(tmp_path, numbers)
    header = header.replace(b"encoding: raw", f"encoding: {encoding}".encode())
    path = tmp_path / ("scan.nhdr" if detached else "scan.nrrd")
    if detached:
        (tmp_path / "scan.raw").write_bytes(encode(voxels))
        path.write_bytes(header + b"\ndata file: scan.raw\n")
    else:
        path.write_bytes(header + b"\n\n" + encode(voxels))
    assert_reads(path, numbers)
    assert image_files(tmp_path) == [path]


def test_nrrd_that_gives_no_position_or_other_units_says_so(tmp_path, numbers):
    header, voxels = nrrd_parts(tmp_path, numbers)
    path = tmp_path / "scan.nrrd"
    path.write_bytes(header + b'\nspace units: "um" "um" "um"\n\n' + voxels)
    assert_reads(path, numbers, ('lengths are in "um"',))
    bare = re.sub(rb"\n(space|kinds)[^\n]*", b"", header)
    path.write_bytes(bare + b"\n\n" + voxels)
    assert "left and right" in read_volume(path).remarks[0]


def test_minc(tmp_path, numbers):
    SimpleITK.WriteImage(itk_image(numbers), str(tmp_path / "scan.mnc"))
    np.testing.assert_allclose(read_volume(tmp_path / "scan.mnc").array, numbers.array, atol=0.01)
    np.testing.assert_allclose(read_volume(tmp_path / "scan.mnc").affine, OBLIQUE, atol=1e-4)


@pytest.mark.parametrize("name", ["scan", "scan.mha", "scan.nii.gz", "scan.bin"])
@pytest.mark.parametrize("written", [".nii", ".nrrd", ".mha", ".mgh"])
def test_the_content_decides_not_the_name(tmp_path, numbers, written, name):
    if written in (".nii", ".mgh"):
        nib.save(image_of(numbers, nib.Nifti1Image if written == ".nii" else nib.MGHImage), tmp_path / f"made{written}")
    else:
        SimpleITK.WriteImage(itk_image(numbers), str(tmp_path / f"made{written}"))
    (tmp_path / f"made{written}").rename(tmp_path / name)
    assert_reads(tmp_path / name, numbers)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (bytes(128) + b"DICM" + bytes(100), "a DICOM file; give the folder of its study"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "a JPEG picture"),
        (b"PK\x03\x04" + bytes(50), "a zip archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "compressed by Zstandard"),
        (b"\x93NUMPY" + bytes(50), "an array of NumPy"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b'{"Modality": "MR"}', "a JSON text"),
    ],
)
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.dcm", "scan.nrrd", "scan.img"])
def test_what_is_not_read_is_named(tmp_path, data, what, name):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name} cannot be read: it is {what}"):
        read_volume(tmp_path / name)
    (tmp_path / name).write_bytes(gzip.compress(data))
    with pytest.raises(ValueError, match=rf"{name} cannot be read: it is {what}"):
        read_volume(tmp_path / name)


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "scan.nii.gz").mkdir()
    with pytest.raises(ValueError, match=r"scan\.nii\.gz is a folder"):
        read_volume(tmp_path / "scan.nii.gz")


# --- numbers ---


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_in_either_byte_order(tmp_path, numbers, dtype, order):
    array = (numbers.array % 120).astype(f"{order}{dtype}")
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_sform(OBLIQUE, 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "scan.nii").write_bytes(header.binaryblock + bytes(4) + array.tobytes(order="F"))
    assert_reads(tmp_path / "scan.nii", Volume(array.astype(dtype), OBLIQUE))


def test_a_type_that_cannot_be_held_is_named(tmp_path, numbers):
    (tmp_path / "scan.nii").write_bytes(of_header(image_of(numbers), datatype=1536, bitpix=128))
    with pytest.raises(ValueError, match=r"scan\.nii cannot be read.*(float128|1536)"):
        read_volume(tmp_path / "scan.nii")


@pytest.mark.parametrize(
    ("dtype", "what"),
    [(np.complex64, "complex numbers"), ([("R", "u1"), ("G", "u1"), ("B", "u1")], r"colours \(RGB\)")],
)
def test_numbers_of_other_kinds_are_named(tmp_path, dtype, what):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), dtype), OBLIQUE), tmp_path / "scan.nii")
    with pytest.raises(ValueError, match=rf"scan\.nii.*{what}"):
        read_volume(tmp_path / "scan.nii")


@pytest.mark.parametrize("slope", [0, np.nan, np.inf])
def test_a_scale_factor_that_is_none_changes_nothing(tmp_path, numbers, slope):
    (tmp_path / "scan.nii").write_bytes(of_header(image_of(numbers), scl_slope=slope, scl_inter=7))
    assert_reads(tmp_path / "scan.nii", numbers)


def test_scale_factors_of_any_size_lose_nothing(tmp_path, numbers):
    for slope in (0.5, 1e-36, 1e30):
        (tmp_path / "scan.nii").write_bytes(of_header(image_of(numbers), scl_slope=slope, scl_inter=3 * slope))
        expected = (numbers.array + 3.0) * np.float64(np.float32(slope))
        np.testing.assert_allclose(read_volume(tmp_path / "scan.nii").array, expected, rtol=1e-6)


def test_odd_scale_factors_are_said(tmp_path, numbers):
    (tmp_path / "scan.nii").write_bytes(of_header(image_of(numbers), scl_slope=-1, scl_inter=0))
    negative = Volume(-numbers.array.astype(np.float32), OBLIQUE)
    assert_reads(tmp_path / "scan.nii", negative, (r"scl_slope\) is negative, -1",))
    (tmp_path / "scan.nii").write_bytes(of_header(image_of(numbers), scl_slope=1, scl_inter=np.nan))
    assert_reads(tmp_path / "scan.nii", numbers, (r"scl_inter\) is nan; 0 was taken",))


def test_a_single_volume_of_more_axes_is_that_volume(tmp_path, numbers):
    for shape in ((*SHAPE, 1), (*SHAPE, 1, 1)):
        nib.save(nib.Nifti1Image(numbers.array.reshape(shape), OBLIQUE), tmp_path / "scan.nii")
        assert_reads(tmp_path / "scan.nii", numbers)
    nib.save(nib.Nifti1Image(np.zeros((*SHAPE, 1, 4), np.int16), OBLIQUE), tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii").array.shape == (*SHAPE, 4)
    nib.save(nib.Nifti1Image(np.zeros((*SHAPE, 2, 4), np.int16), OBLIQUE), tmp_path / "scan.nii")
    with pytest.raises(ValueError, match=r"scan\.nii.*\(7, 9, 6, 2, 4\)"):
        read_volume(tmp_path / "scan.nii")


# --- positions ---


def placed(numbers, sform=None, qform=None, **fields) -> bytes:
    image = nib.Nifti1Image(numbers.array, None)
    image.set_sform(sform, 0 if sform is None else 1)
    image.set_qform(qform, 0 if qform is None else 1)
    return of_header(image, **fields)


def moved(millimetres: float) -> np.ndarray:
    affine = OBLIQUE.copy()
    affine[0, 3] += millimetres
    return affine


def test_two_positions_that_disagree_are_said_and_chosen(tmp_path, numbers):
    path = tmp_path / "scan.nii"
    path.write_bytes(placed(numbers, moved(20), OBLIQUE))
    said = "sform and qform, are up to 20 mm apart; the {} was taken"
    there = Volume(numbers.array, moved(20))
    assert_reads(path, there, (said.format("sform"),))
    assert_reads(path, there, (said.format("sform"),), "sform")
    assert_reads(path, numbers, (said.format("qform"),), "qform")
    path.write_bytes(placed(numbers, moved(0.8), OBLIQUE))
    assert_reads(path, Volume(numbers.array, moved(0.8)))


def test_mirrored_positions_disagree_as_well(tmp_path, numbers):
    mirrored = np.diag([-1.0, 1, 1, 1]) @ OBLIQUE
    (tmp_path / "scan.nii").write_bytes(placed(numbers, mirrored, OBLIQUE))
    assert_reads(tmp_path / "scan.nii", Volume(numbers.array, mirrored), ("mm apart",))


def test_a_single_position_is_taken_whichever_was_asked_for(tmp_path, numbers):
    path = tmp_path / "scan.nii"
    path.write_bytes(placed(numbers, None, OBLIQUE))
    assert_reads(path, numbers)
    assert_reads(path, numbers, ("no sform in the header; the qform was taken",), "sform")
    path.write_bytes(placed(numbers, OBLIQUE, None))
    assert_reads(path, numbers, ("no qform in the header; the sform was taken",), "qform")


def test_a_damaged_position_gives_way_to_the_other(tmp_path, numbers):
    path = tmp_path / "scan.nii"
    for row in ([0, 0, 0, 0], [np.nan, 0, 0, 0]):
        path.write_bytes(placed(numbers, OBLIQUE, OBLIQUE, srow_x=row))
        assert_reads(path, numbers, ("the sform in the header is no position",))
    path.write_bytes(placed(numbers, OBLIQUE, OBLIQUE, quatern_b=np.nan))
    assert_reads(path, numbers, ("the qform in the header is no position",), "qform")


def test_a_header_without_a_position_says_so(tmp_path, numbers):
    (tmp_path / "scan.nii").write_bytes(placed(numbers))
    back = read_volume(tmp_path / "scan.nii")
    assert nib.aff2axcodes(back.affine) == ("L", "A", "S")
    (remark,) = back.remarks
    assert re.search(r"scan\.nii: .*does not say how the head lies", remark)


@pytest.mark.parametrize(("code", "unit"), [(1, "metres"), (3, "micrometres"), (2, ""), (0, ""), (10, "")])
def test_units_other_than_millimetres_are_said(tmp_path, numbers, code, unit):
    (tmp_path / "scan.nii").write_bytes(of_header(image_of(numbers), xyzt_units=code))
    assert_reads(tmp_path / "scan.nii", numbers, (f"lengths are in {unit} ",) if unit else ())


# --- results ---


def test_a_result_is_known_by_its_mark(tmp_path, numbers):
    for name in ("seg.nii", "seg.nii.gz"):
        write_volume(tmp_path / name, numbers, description="ProtoSegBrain, research use only")
        assert is_result(tmp_path / name)
        write_volume(tmp_path / name, numbers, description="simulated by ProtoSegBrainLib")
        assert not is_result(tmp_path / name)
    (tmp_path / "odd.nii.gz").write_bytes(b"\x1f\x8bodd")
    assert not is_result(tmp_path / "odd.nii.gz")
