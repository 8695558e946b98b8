"""A volume as a scanner would have written it: a DICOM MR series of a patient who does not exist.

One file a slice (classic), or one file for all (enhanced multi-frame), uncompressed or compressed without loss.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Syntax = Literal["explicit", "implicit", "deflated", "rle", "jpegls", "jpeg2000"]
SYNTAXES: dict[str, str] = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpegls": "1.2.840.10008.1.2.4.80",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
}
"""Transfer syntax UIDs; the last three are compressed."""
MR_IMAGE, ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SHEAR_TOLERANCE = 1e-4
MOST_STORED = 4095


@dataclass(frozen=True)
class SeriesHeader:
    """What the header of a series says; UIDs that are not given are made of the seed.

    Attributes:
        description: As the scanner calls it.
        number: As the scanner counts.
        repetition_ms, echo_ms, inversion_ms: How it was measured; None is not said.
        sequence: Values of ScanningSequence: SE, GR, IR, EP.
        agent: Contrast medium; "" without.
        protocol: Its name at the scanner.
        manufacturer: Of the scanner.
        image_type: ORIGINAL or DERIVED, PRIMARY or SECONDARY, and what the vendor adds.
        patient_id: Of nobody.
        study, uid, frame_of_reference: Instance UIDs.
        date: Of the study, YYYYMMDD.
        seed: Of what is not given; series of one study share it.
        extra: Further attributes of each image, by keyword.
    """

    description: str
    number: int
    repetition_ms: float | None = None
    echo_ms: float | None = None
    inversion_ms: float | None = None
    sequence: tuple[str, ...] = ("SE",)
    agent: str = ""
    protocol: str = ""
    manufacturer: str = "SIMULATED"
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND")
    patient_id: str = "SIMULATED-1"
    study: str = ""
    uid: str = ""
    frame_of_reference: str = ""
    date: str = "20260101"
    seed: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)

    def uid_of(self, *what: object) -> str:
        """The same UID for the same seed and words."""
        from pydicom.uid import generate_uid

        return str(generate_uid(entropy_srcs=["ProtoSegBrain simulated", str(self.seed), *map(str, what)]))


def write_series(
    folder: str | os.PathLike[str],
    volume: Volume,
    header: SeriesHeader,
    *,
    syntax: Syntax = "explicit",
    enhanced: bool = False,
) -> list[Path]:
    """Write a volume as a series, in files that are called after their UIDs; the folder is made.

    Args:
        folder: Series of a study may share it.
        volume: (X, Y, Z), slices along the third axis; whole numbers are stored as they are, others scaled to 12 bits.
        header: What is said of it.
        syntax: Transfer syntax.
        enhanced: One multi-frame object instead of one a slice.

    Raises:
        ValueError: The axes are not at right angles, a number does not fit into 16 bits, or slices are smaller than the
            32x32 pixels that JPEG 2000 needs.
        ImportError: pydicom is not installed, or what compresses.
    """
    return write_objects(folder, series_objects(volume, header, enhanced=enhanced), syntax)


def series_objects(volume: Volume, header: SeriesHeader, *, enhanced: bool = False) -> list[Dataset]:
    """The objects of a series before they are written; arguments and errors of ``write_series``."""
    planes, slope, intercept = _stored(volume.array)
    lie = _Lie.of(volume)
    if enhanced:
        return [_enhanced(planes, lie, header, slope, intercept)]
    return [_classic(plane, k, lie, header, slope, intercept) for k, plane in enumerate(planes)]


def write_objects(
    folder: str | os.PathLike[str], objects: Iterable[Dataset], syntax: Syntax = "explicit"
) -> list[Path]:
    """Write objects, each in a file that is called after its UID."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for each in objects:
        each.file_meta = FileMetaDataset()
        each.file_meta.TransferSyntaxUID = UID(SYNTAXES[syntax])
        if each.file_meta.TransferSyntaxUID.is_compressed and syntax != "deflated":
            each.file_meta.TransferSyntaxUID = UID(SYNTAXES["explicit"])
            _compress(each, syntax)
        paths.append(Path(folder) / f"{each.SOPInstanceUID}.dcm")
        each.save_as(paths[-1], enforce_file_format=True)
    return paths


def _compress(each: Dataset, syntax: Syntax) -> None:
    from pydicom.pixels import get_encoder
    from pydicom.uid import UID

    if not get_encoder(UID(SYNTAXES[syntax])).is_available:
        raise ImportError(f'Writing {syntax} needs an encoder: pip install "protosegbrain[dicom]"')
    try:
        each.compress(SYNTAXES[syntax], generate_instance_uid=False)
    except RuntimeError as error:
        size = f"{each.Columns}x{each.Rows}"
        raise ValueError(f"Slices of {size} pixels cannot be written as {syntax} ({error}).") from error


# -- pixels and places -----------------------------------------------------------------------------------------------


def _stored(array: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(slices, rows, columns) of 16 bits, slope and intercept."""
    if array.ndim != 3:
        raise ValueError(f"Expected an image of three axes, got shape {array.shape}.")
    slope, intercept = 1.0, 0.0
    if array.dtype.kind == "f":
        intercept = float(array.min())
        slope = (float(array.max()) - intercept) / MOST_STORED or 1.0
        array = np.rint((array - intercept) / slope).astype(np.uint16)
    kind = np.int16 if array.min() < 0 else np.uint16
    if array.min() < np.iinfo(kind).min or array.max() > np.iinfo(kind).max:
        raise ValueError(f"Values from {array.min()} to {array.max()} do not fit into 16 bits.")
    return np.ascontiguousarray(array.transpose(2, 1, 0).astype(kind)), slope, intercept


@dataclass(frozen=True, eq=False)
class _Lie:
    """Where slices lie, as headers say it: LPS, mm."""

    origin: np.ndarray
    step: np.ndarray
    directions: list[str]
    spacing: list[str]

    @classmethod
    def of(cls, volume: Volume) -> _Lie:
        affine = LPS_TO_RAS @ volume.affine
        axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE:
            raise ValueError("A DICOM series needs axes at right angles; the affine of this image is sheared.")
        dx, dy, _ = volume.spacing_mm
        return cls(affine[:3, 3], affine[:3, 2], _ds([*axes[:, 0], *axes[:, 1]]), _ds([dy, dx]))

    def position(self, k: int) -> list[str]:
        return _ds(self.origin + k * self.step)

    @property
    def step_mm(self) -> float:
        return float(np.linalg.norm(self.step))


def _ds(numbers: Iterable[float]) -> list[str]:
    """Decimal strings of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(number)) for number in numbers]


# -- objects -----------------------------------------------------------------------------------------------------------


def _classic(plane: np.ndarray, k: int, lie: _Lie, header: SeriesHeader, slope: float, intercept: float) -> Dataset:
    each = _described(header, MR_IMAGE, f"slice {k}")
    each.ScanningSequence, each.SequenceVariant, each.ScanOptions = list(header.sequence), "NONE", ""
    each.MRAcquisitionType, each.EchoTrainLength = "2D", 1
    each.ImageType = list(header.image_type)
    _set_times(each, header)
    if header.agent:
        each.ContrastBolusAgent = header.agent
    each.InstanceNumber, each.AcquisitionNumber = k + 1, 1
    each.ImagePositionPatient, each.ImageOrientationPatient = lie.position(k), lie.directions
    each.PixelSpacing = lie.spacing
    each.SliceThickness = each.SpacingBetweenSlices = _ds([lie.step_mm])[0]
    if (slope, intercept) != (1, 0):
        each.RescaleSlope, each.RescaleIntercept = _ds([slope, intercept])
        each.RescaleType = "US"
    _set_pixels(each, plane[None])
    return _with_extra(each, header)


def _enhanced(planes: np.ndarray, lie: _Lie, header: SeriesHeader, slope: float, intercept: float) -> Dataset:
    """Its frames stand in another order than the slices lie, as in many a real one."""
    each = _described(header, ENHANCED_MR_IMAGE, "enhanced")
    each.ImageType = [*header.image_type[:2], "OTHER", "NONE"]
    each.NumberOfFrames, each.InstanceNumber, each.AcquisitionNumber = len(planes), 1, 1
    _set_enhanced(each, header)
    each.SharedFunctionalGroupsSequence = [_shared(lie, header, slope, intercept)]
    order = np.random.default_rng(header.seed).permutation(len(planes))
    organisation = header.uid_of(header.number, "dimensions")
    each.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organisation)]
    pointer = {"DimensionIndexPointer": 0x00209057, "FunctionalGroupPointer": 0x00209111}
    each.DimensionIndexSequence = [_item(DimensionOrganizationUID=organisation, **pointer)]
    each.PerFrameFunctionalGroupsSequence = [_own(int(k), lie) for k in order]
    _set_pixels(each, planes[order])
    return _with_extra(each, header)


def _set_enhanced(each: Dataset, header: SeriesHeader) -> None:
    each.PixelPresentation, each.VolumetricProperties = "MONOCHROME", "VOLUME"
    each.VolumeBasedCalculationTechnique, each.ComplexImageComponent = "NONE", "MAGNITUDE"
    each.AcquisitionContrast, each.ContentQualification = "UNKNOWN", "RESEARCH"
    each.ResonantNucleus, each.KSpaceFiltering, each.ApplicableSafetyStandardAgency = "1H", "NONE", "IEC"
    each.PulseSequenceName, each.MRAcquisitionType = "simulated", "2D"
    each.EchoPulseSequence = "GRADIENT" if "GR" in header.sequence else "SPIN"
    each.EchoPlanarPulseSequence = "YES" if "EP" in header.sequence else "NO"
    each.InversionRecovery = "YES" if header.inversion_ms else "NO"
    each.AcquisitionDateTime, each.AcquisitionDuration = f"{header.date}090000", 240.0
    each.BurnedInAnnotation, each.LossyImageCompression, each.PresentationLUTShape = "NO", "00", "IDENTITY"
    if header.agent:
        code = {"CodeValue": "385420005", "CodingSchemeDesignator": "SCT", "CodeMeaning": header.agent}
        each.ContrastBolusAgentSequence = [_item(ContrastBolusAgentNumber=1, **code)]


def _shared(lie: _Lie, header: SeriesHeader, slope: float, intercept: float) -> Dataset:
    step, timing = _ds([lie.step_mm])[0], {}
    if header.repetition_ms is not None:
        timing["RepetitionTime"] = _ds([header.repetition_ms])[0]
    groups = _item(
        PixelMeasuresSequence=[_item(PixelSpacing=lie.spacing, SliceThickness=step, SpacingBetweenSlices=step)],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=lie.directions)],
        MRTimingAndRelatedParametersSequence=[_item(FlipAngle="90", EchoTrainLength=1, **timing)],
    )
    if header.echo_ms is not None:
        groups.MREchoSequence = [_item(EffectiveEchoTime=float(header.echo_ms))]
    if header.inversion_ms is not None:
        groups.MRModifierSequence = [_item(InversionRecovery="YES", InversionTimes=float(header.inversion_ms))]
    slope_text, intercept_text = _ds([slope, intercept])
    scale = _item(RescaleIntercept=intercept_text, RescaleSlope=slope_text, RescaleType="US")
    groups.PixelValueTransformationSequence = [scale]
    return groups


def _own(k: int, lie: _Lie) -> Dataset:
    place = {"StackID": "1", "InStackPositionNumber": k + 1, "DimensionIndexValues": [k + 1]}
    return _item(
        FrameContentSequence=[_item(FrameAcquisitionNumber=1, **place)],
        PlanePositionSequence=[_item(ImagePositionPatient=lie.position(k))],
    )


def _described(header: SeriesHeader, kind: str, part: str) -> Dataset:
    """Patient, study, series and scanner."""
    uid = header.uid or header.uid_of("series", header.number, header.description, header.date)
    each = _item(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=kind,
        SOPInstanceUID=header.uid_of(uid, part),
        StudyInstanceUID=header.study or header.uid_of("study", header.patient_id, header.date),
        SeriesInstanceUID=uid,
        FrameOfReferenceUID=header.frame_of_reference or header.uid_of("frame", header.patient_id, header.date),
        PatientName="Simulated",
        PatientID=header.patient_id,
        PatientBirthDate="",
        PatientSex="O",
        AccessionNumber="",
        ReferringPhysicianName="",
        StudyID="1",
        StudyDescription="SIMULATED MR BRAIN",
        Modality="MR",
        Manufacturer=header.manufacturer,
        ManufacturerModelName="Simulated",
        DeviceSerialNumber="0",
        SoftwareVersions="1",
        BodyPartExamined="BRAIN",
        PatientPosition="HFS",
        PositionReferenceIndicator="",
        MagneticFieldStrength="3",
        SeriesDescription=header.description,
        ProtocolName=header.protocol or header.description,
        SeriesNumber=header.number,
    )
    for when in ("Study", "Series", "Acquisition", "Content"):
        setattr(each, f"{when}Date", header.date)
        setattr(
            each,
            f"{when}Time",
            "090000" if when == "Study" else f"{9 + header.number // 60 % 14:02}{header.number % 60:02}00",
        )
    return each


def _set_times(each: Dataset, header: SeriesHeader) -> None:
    times = {"RepetitionTime": header.repetition_ms, "EchoTime": header.echo_ms, "InversionTime": header.inversion_ms}
    for name, value in times.items():
        if value is not None:
            setattr(each, name, _ds([value])[0])


def _set_pixels(each: Dataset, planes: np.ndarray) -> None:
    """(frames, rows, columns)."""
    each.Rows, each.Columns, each.SamplesPerPixel = planes.shape[1], planes.shape[2], 1
    each.PhotometricInterpretation, each.PixelRepresentation = "MONOCHROME2", int(planes.dtype.kind == "i")
    each.BitsAllocated, each.BitsStored, each.HighBit = 16, 16, 15
    low, high = float(planes.min()), float(planes.max())
    each.WindowCenter, each.WindowWidth = _ds([(low + high) / 2, max(1.0, high - low)])
    each.PixelData = planes.tobytes()
    each["PixelData"].VR = "OW"


def _with_extra(each: Dataset, header: SeriesHeader) -> Dataset:
    for name, value in header.extra.items():
        setattr(each, name, value)
    return each


def _item(**values: Any) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in values.items():
        setattr(item, name, list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value)
    return item
