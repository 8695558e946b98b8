"""Which study and which series are taken from a folder of DICOM."""

import json
import pickle
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from dicom_study import HEADERS, objects, same_place, small_volume
from dicom_study import write_study as write_classic

from ProtoSegBrainLib.dicom.study import StudyChoice, list_studies, read_dicom_study
from ProtoSegBrainLib.labels import MODALITIES, SHORT_NAMES
from ProtoSegBrainLib.simulation.dicom_series import SeriesHeader, write_objects, write_series


def write_study(folder, **changes):
    """In four files, which is quicker than in forty."""
    return write_classic(folder, enhanced=True, **changes)


def refused(place, choice=None, error=ValueError):
    with pytest.raises(error) as caught:
        read_dicom_study(place, choice)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_the_four_images_of_a_study(tmp_path):
    volumes = write_classic(tmp_path)
    heard = []
    study = read_dicom_study(tmp_path, on_progress=lambda fraction, _: heard.append(fraction))
    assert list(study.volumes) == list(MODALITIES)
    for role in MODALITIES:
        assert same_place(study.volumes[role], volumes[role])
        assert study.series[role].role.role == role
        assert study.names[role] == study.series[role].name
        assert len(study.series[role].frames) == study.volumes[role].shape[2]
    assert re.fullmatch(r"study_[0-9a-f]{8}", study.case_id)
    assert study.remarks == ()
    assert study.label is None
    assert heard == sorted(heard)
    assert heard[-1] <= 1


def test_case_ids(tmp_path):
    write_study(tmp_path, patient_id="SIM/01 a")
    assert read_dicom_study(tmp_path, StudyChoice(case_id="P01")).case_id == "P01"
    assert read_dicom_study(tmp_path, StudyChoice(id_from="patient-id")).case_id == "SIM_01_a"
    by_hash = read_dicom_study(tmp_path).case_id
    assert by_hash == read_dicom_study(tmp_path).case_id
    assert "SIM" not in by_hash


def test_without_a_patient_id_the_study_names_the_case(tmp_path):
    write_study(tmp_path, patient_id="")
    assert read_dicom_study(tmp_path, StudyChoice(id_from="patient-id")).case_id.startswith("study_")


# -- several candidates ----------------------------------------------------------------------------------------------


def test_the_finest_is_taken_and_said(tmp_path):
    write_study(tmp_path)
    header = SeriesHeader("AX T1 POST GAD", 11, 600, 11, agent="Gadobutrol")
    write_series(tmp_path, small_volume(9, spacing_mm=(0.4, 0.4, 5.0)), header)  # the smaller voxel, but thick
    study = read_dicom_study(tmp_path)
    assert study.series["t1c"].number == 12
    assert study.remarks == (
        'Of 2 series, 12 "T1 MPRAGE +C" was taken for T1ce, not 11 "AX T1 POST GAD" (voxels of 0.4 x 0.4 x 5 mm).',
    )


def test_of_equal_ones_the_one_with_most_slices_then_the_later(tmp_path):
    write_study(tmp_path, but=("t2w",))
    write_series(tmp_path, small_volume(1, shape=(24, 20, 9)), SeriesHeader("T2 short", 9, 4800, 95))
    write_series(tmp_path, small_volume(2), SeriesHeader("T2", 7, 4800, 95))
    write_series(tmp_path, small_volume(3), SeriesHeader("T2 again", 8, 4800, 95))
    study = read_dicom_study(tmp_path)
    assert study.series["t2w"].number == 8
    (said,) = study.remarks
    assert "alike, and the earlier one" in said
    assert "9 slices instead of 10" in said


def test_a_faulty_candidate_gives_way(tmp_path):
    write_study(tmp_path)
    faulty = objects(volume=small_volume(4, spacing_mm=(0.8, 0.8, 2.0)), number=7, description="T2 fine")
    write_objects(tmp_path, faulty[:4] + faulty[5:])
    study = read_dicom_study(tmp_path)
    assert study.series["t2w"].number == 5
    assert '7 "T2 fine" (1 slice is missing between image 4 and image 6)' in study.remarks[0]


def test_of_two_acquisitions_of_a_series_the_later(tmp_path):
    write_study(tmp_path, but=("t2w",))
    series = objects()
    later = objects(volume=small_volume(5))
    for n, each in enumerate(later):
        each.SOPInstanceUID, each.AcquisitionNumber = f"1.2.3.{n}", 2
    write_objects(tmp_path, series + later)
    study = read_dicom_study(tmp_path)
    assert same_place(study.volumes["t2w"], small_volume(5))
    assert study.names["t2w"] == '5 "AX T2 TSE" (acquisition 2)'
    assert 'not 5 "AX T2 TSE" (acquisition 1) (alike, and the earlier one)' in study.remarks[0]


def test_copies_and_other_objects_are_said(tmp_path):
    volumes = write_classic(tmp_path)
    each = objects(volume=volumes["t2w"])[0]
    each.SOPInstanceUID = "1.2.3"
    write_objects(tmp_path, [each])
    for n in (4, 5):
        each.SOPClassUID, each.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", f"1.2.3.{n}"
        write_objects(tmp_path, [each])
    study = read_dicom_study(tmp_path)
    assert study.remarks == (
        "Passed over, as they are no MR images that can be placed: Segmentation Storage (2).",
        'Series 5 "AX T2 TSE": one slice is there twice, alike; it was taken once.',
    )
    assert same_place(study.volumes["t2w"], volumes["t2w"])
    assert len(study.series["t2w"].frames) == 10


# -- a person names series -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["11", "post gad", "AX T1 POST GAD", '11 "AX T1 POST GAD"'])
def test_a_series_by_number_or_name(text, tmp_path):
    write_study(tmp_path)
    header = SeriesHeader("AX T1 POST GAD", 11, 600, 11, agent="Gadobutrol")
    write_series(tmp_path, small_volume(9), header)
    study = read_dicom_study(tmp_path, StudyChoice(series={"t1c": text}))
    assert study.series["t1c"].number == 11
    assert read_dicom_study(tmp_path, StudyChoice(series={"t1c": study.series["t1c"].uid})).series["t1c"].number == 11


def test_a_series_that_looks_like_another_is_taken_and_said(tmp_path):
    write_study(tmp_path, but=("t1c",))
    write_series(tmp_path, small_volume(9), SeriesHeader("T1", 11, 600, 11))
    study = read_dicom_study(tmp_path, StudyChoice(series={"t1c": "11"}))
    assert study.series["t1n"].number == 3
    assert study.remarks == ('Series 11 "T1" was given for T1ce; by its header: it looks like T1.',)


def test_names_that_fit_none_or_several_are_refused(tmp_path):
    write_study(tmp_path)
    said = refused(tmp_path, StudyChoice(series={"t2f": "99"}))
    assert '--flair 99: there is no such series; there is: 3 "T1 SE SAG": T1' in said
    said = refused(tmp_path, StudyChoice(series={"t2f": "ax"}))
    assert '--flair ax may mean 5 "AX T2 TSE"' in said
    assert '6 "AX FLAIR"' in said


def test_one_series_for_two_roles_is_refused(tmp_path):
    write_study(tmp_path)
    said = refused(tmp_path, StudyChoice(series={"t2f": "5", "t2w": "5"}))
    assert said == 'Series 5 "AX T2 TSE" was given for T2 and FLAIR; expected four different series.'


# -- what is missing -------------------------------------------------------------------------------------------------


def test_a_missing_role_lists_what_there_is(tmp_path):
    write_study(tmp_path, but=("t2f",))
    write_series(tmp_path, small_volume(), SeriesHeader("ep2d_diff", 7, 3700, 102, sequence=("EP",)))
    said = refused(tmp_path, error=FileNotFoundError)
    assert said.startswith("No series for FLAIR in the study of 2026-01-01; there is:")
    assert '7 "ep2d_diff": diffusion' in said
    assert said.endswith("name it with --flair.")


def test_two_t1_and_no_contrast_medium(tmp_path):
    write_study(tmp_path, but=("t1c",))
    write_series(tmp_path, small_volume(9), SeriesHeader("T1", 11, 600, 11))
    said = refused(tmp_path, error=FileNotFoundError)
    assert "Of several T1 none says that contrast medium was given; name T1ce with --t1ce." in said


def test_only_derived_series(tmp_path):
    write_classic(tmp_path, image_type=("DERIVED", "SECONDARY", "MPR"))
    said = refused(tmp_path, error=FileNotFoundError)
    assert "No series for T1, T1ce, T2 and FLAIR" in said.replace("T1ce, T1", "T1, T1ce")
    assert "computed from other images (derived, mpr)" in said


def test_all_candidates_are_faulty(tmp_path):
    write_study(tmp_path, but=("t2w",))
    series = objects()
    write_objects(tmp_path, series[:4] + series[5:])
    assert "1 slice is missing between image 4 and image 6" in refused(tmp_path)


def test_nothing_at_all(tmp_path):
    assert "There is no folder" in refused(tmp_path / "nowhere", error=FileNotFoundError)
    assert "no DICOM file found" in refused(tmp_path, error=FileNotFoundError)
    (tmp_path / "a.txt").write_text("no scan")
    assert "no DICOM file found" in refused(tmp_path, error=FileNotFoundError)


@pytest.mark.parametrize("lost", [("SeriesInstanceUID",), ("ImageOrientationPatient",), ("StudyInstanceUID",)])
def test_anonymised_too_far(lost, tmp_path):
    for role in HEADERS:
        series = objects(role)
        for each in series:
            for name in lost:
                delattr(each, name)
        write_objects(tmp_path, series)
    said = refused(tmp_path)
    assert re.search(r"MR images without .* \(40\)", said)
    assert "anonymise the files without removing those" in said


def test_anonymised_without_words_or_dates(tmp_path):
    for role in HEADERS:
        series = objects(role)
        for each in series:
            for name in (
                "SeriesDescription",
                "ProtocolName",
                "StudyDate",
                "SeriesDate",
                "AcquisitionDate",
                "PatientID",
            ):
                delattr(each, name)
        write_objects(tmp_path, series)
    study = read_dicom_study(tmp_path)
    assert {role: series.number for role, series in study.series.items()} == {
        role: header.number for role, header in HEADERS.items()
    }


# -- several studies -------------------------------------------------------------------------------------------------


@pytest.fixture
def two_dates(tmp_path):
    write_study(tmp_path / "later", date="20260301")
    write_study(tmp_path / "earlier", date="20250131", but=("t2f",))
    return tmp_path


def test_several_studies_are_listed(two_dates):
    said = refused(two_dates)
    assert "holds 2 studies: 1 (2025-01-31, 3 of the four images); 2 (2026-03-01, 4 of the four images)." in said
    assert "--study" in said


@pytest.mark.parametrize("text", ["2", "20260301", "2026-03-01"])
def test_a_study_by_number_or_date(text, two_dates):
    assert read_dicom_study(two_dates, StudyChoice(study=text)).series["t1c"].date == "20260301"


def test_a_study_by_the_beginning_or_end_of_its_uid(two_dates):
    uid = read_dicom_study(two_dates, StudyChoice(study="2")).series["t1c"].study
    for text in (uid, uid[-8:], uid[:60]):
        assert read_dicom_study(two_dates, StudyChoice(study=text)).series["t1c"].date == "20260301"
    assert "2 studies that '1.2.826' may mean" in refused(two_dates, StudyChoice(study="1.2.826"))
    assert "holds no study '7'; there is: 1 (2025-01-31" in refused(two_dates, StudyChoice(study="7"))


def test_two_patients_are_said(tmp_path):
    write_study(tmp_path / "a")
    write_study(tmp_path / "b", patient_id="SIMULATED-2")
    said = refused(tmp_path)
    assert "holds 2 studies of 2 patients" in said
    assert "SIMULATED" not in said


def test_one_study_uid_of_two_patients_or_dates_is_two_studies(tmp_path):
    write_study(tmp_path / "a", study="1.2.3")
    write_study(tmp_path / "b", study="1.2.3", patient_id="SIMULATED-2", seed=2)
    write_study(tmp_path / "c", study="1.2.3", date="20260401", seed=3)
    assert "holds 3 studies of 2 patients" in refused(tmp_path)
    assert len({place.case_id for place in list_studies(tmp_path)}) == 3


def test_an_examination_over_midnight_is_one(tmp_path):
    write_study(tmp_path, but=("t1c",), date="20260101", study="1.2.3")
    series = objects("t1c", date="20260102", study="1.2.3")
    write_objects(tmp_path, series)
    assert read_dicom_study(tmp_path).series["t1c"].date == "20260102"


def test_what_was_computed_later_is_of_the_same_examination(tmp_path):
    write_study(tmp_path, study="1.2.3")
    computed = SeriesHeader("T1 MPR", 99, image_type=("DERIVED", "SECONDARY", "MPR"), date="20260105", study="1.2.3")
    write_series(tmp_path, small_volume(), computed)
    assert read_dicom_study(tmp_path).remarks == ()


def test_a_study_of_something_else_is_left_out_and_said(tmp_path):
    write_study(tmp_path)
    header = SeriesHeader("SPINE LOC", 1, 5, 2, sequence=("GR",), date="20240101")
    write_series(tmp_path, small_volume(), header)
    (said,) = read_dicom_study(tmp_path).remarks
    assert said.endswith("1 other study without any of the four images was left out.")


def test_list_studies(two_dates):
    write_study(two_dates / "other", patient_id="SIMULATED-2")
    places = list_studies(two_dates)
    assert [(place.date, bool(place.problem)) for place in places] == [
        ("20250131", True),
        ("20260101", False),
        ("20260301", False),
    ]
    assert "No series for FLAIR" in places[0].problem
    for place in pickle.loads(pickle.dumps(places[1:])):
        study = read_dicom_study(place)
        assert study.case_id == place.case_id
        assert study.series["t1c"].date == place.date
    with pytest.raises(FileNotFoundError, match="FLAIR"):
        read_dicom_study(places[0])


def test_list_studies_by_patient(two_dates):
    ids = [place.case_id for place in list_studies(two_dates, StudyChoice(id_from="patient-id"))]
    assert ids == ["SIMULATED-1_20250131", "SIMULATED-1_20260301"]
    (only,) = list_studies(two_dates, StudyChoice(study="2"))
    assert only.date == "20260301"


def test_a_study_that_went_away(two_dates):
    place = list_studies(two_dates)[1]
    for path in (two_dates / "later").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no longer there"):
        read_dicom_study(place)


def test_headers_are_read_quickly(tmp_path):
    """A study of 4 x 150 slices in a few seconds: 40 here in a part of one."""
    write_classic(tmp_path)
    started = time.process_time()
    list_studies(tmp_path)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("seed", range(8))
def test_damaged_headers_give_one_sentence_or_a_study(seed, tmp_path):
    write_study(tmp_path, but=("t2w",))
    write_objects(tmp_path, objects())
    rng = np.random.default_rng(seed)
    for path in tmp_path.iterdir():
        content = bytearray(path.read_bytes())
        for at in rng.integers(132, 2200, rng.integers(1, 6)):
            content[at % len(content)] = rng.choice([0, 32, 65, 255])
        path.write_bytes(content)
    try:
        said = f"Series {len(read_dicom_study(tmp_path).volumes)}"
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
    assert re.match(rf"Series \d|No series for|{re.escape(str(tmp_path))}", said), said


# -- studies made elsewhere ------------------------------------------------------------------------------------------

MAKER = "make_dicom_study.py"
KINDS = {
    "plain": ("--move", "15", "20", "--thick"),
    "messy": ("--thick", "--with", "localizer", "dwi", "t1ce_axial_2d", "duplicate", "derived"),
    "enhanced": ("--thick", "--with", "enhanced_flair", "--syntax", "rle"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_four_of_four_in_studies_of_another_generator(kind, real_data, tmp_path):
    maker = real_data.parent / "tools" / MAKER
    cases = sorted(path for path in (real_data / "brats").glob("BraTS2021_*") if path.is_dir())
    if not maker.is_file() or not cases:
        pytest.skip(f"no {MAKER}, or no case for it")
    command = [sys.executable, str(maker), "--case", str(cases[0]), "--out", str(tmp_path / kind), *KINDS[kind]]
    subprocess.run(command, check=True, capture_output=True)
    truth = json.loads((tmp_path / f"{kind}_truth.json").read_text())
    study = read_dicom_study(tmp_path / kind)
    for role, short in SHORT_NAMES.items():
        assert study.series[role].uid == truth[short]["series"]
        assert study.volumes[role].shape == tuple(truth[short]["size"])
        assert study.volumes[role].spacing_mm == pytest.approx(truth[short]["spacing"])
