"""Roles of series, told from headers as three vendors and people of five languages write them."""

import pytest
from pydicom.dataset import Dataset

from ProtoSegBrainLib.dicom.roles import has_agent, role_of

# Vendor, what it is, and whether words alone say so; description, protocol; TR, TE, TI; sequence; agent; image type.
SIEMENS = ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")
GE = ("ORIGINAL", "PRIMARY", "OTHER")
PHILIPS = ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE")
SE, TSE_IR, GR, MPRAGE, EP = ("SE",), ("SE", "IR"), ("GR",), ("GR", "IR"), ("EP",)

TABLE = [
    # Siemens, English
    ("t1n", "words", "t1_mprage_sag_p2_iso", "", (2300, 2.98, 900), MPRAGE, "", SIEMENS),
    ("t1n", "words", "t1_mpr_ns_sag_p2_iso_1.0", "", (1900, 2.5, 900), MPRAGE, "", SIEMENS),
    ("t1n", "words", "AX T1 SE", "t1_se_tra", (550, 12, None), SE, "", SIEMENS),
    ("t1n", "words", "T1 FLAIR SAG", "t1_tirm_sag", (2000, 9.4, 860), TSE_IR, "", SIEMENS),
    ("t1n", "words", "t1_tirm_tra_dark-fluid", "t1_tirm_tra_dark-fluid", (2000, 8.6, 859.7), TSE_IR, "", SIEMENS),
    ("t1n", "words", "t1_fl2d_tra", "", (250, 2.5, None), GR, "", SIEMENS),
    ("t1n", "words", "t1_space_sag_p2_iso", "", (700, 11, None), SE, "", SIEMENS),
    ("t1c", "words", "t1_mprage_tra_p2_iso_post_Gd", "", (1900, 2.7, 900), MPRAGE, "Gadovist", SIEMENS),
    ("t1c", "words", "T1 MPRAGE +C 1mm", "t1_mprage_tra_iso_post_KM", (1900, 2.7, 900), MPRAGE, "GADOVIST", SIEMENS),
    ("t1c", "times", "t1_mprage_sag_p2_iso", "", (2300, 2.98, 900), MPRAGE, "Dotarem 15 ml", SIEMENS),
    ("t1c", "words", "t1_vibe_tra_fs_+C", "", (6.5, 2.4, None), GR, "", SIEMENS),
    ("t2w", "words", "t2_tse_tra_512_5mm", "", (5000, 93, None), SE, "", SIEMENS),
    ("t2w", "words", "t2_spc_sag_p2_iso", "", (3200, 408, None), SE, "", SIEMENS),
    ("t2w", "words", "t2_blade_tra", "", (4000, 118, None), SE, "", SIEMENS),
    ("t2f", "words", "t2_tirm_tra_dark-fluid", "", (9000, 112, 2500), TSE_IR, "", SIEMENS),
    ("t2f", "words", "dark-fluid", "", (9000, 94, 2500), TSE_IR, "", SIEMENS),
    ("t2f", "words", "t2_space_dark-fluid_sag_p2_iso", "", (5000, 387, 1800), TSE_IR, "", SIEMENS),
    ("t2f", "words", "AX FLAIR POST", "", (8000, 119, 2370), TSE_IR, "Gadavist", SIEMENS),
    ("t2f", "words", "FLAIR tra without a time", "", (9000, 120, None), ("SE",), "", SIEMENS),
    (None, "words", "localizer", "", (8.6, 4, None), GR, "", SIEMENS),
    (None, "words", "AAHead_Scout", "", (3.15, 1.37, None), GR, "", SIEMENS),
    (None, "words", "ep2d_diff_3scan_trace_p2", "", (6600, 89, None), EP, "", SIEMENS),
    (None, "words", "ep2d_diff_ADC", "", (6600, 89, None), EP, "", ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")),
    (None, "words", "t2_fl2d_tra_hemo", "", (620, 20, None), GR, "", SIEMENS),
    (None, "words", "t2*_fl2d_tra", "", (800, 26, None), GR, "", SIEMENS),
    (None, "words", "SWI_Images", "", (28, 20, None), GR, "", SIEMENS),
    (None, "words", "Pha_Images", "", (28, 20, None), GR, "", ("ORIGINAL", "PRIMARY", "P", "ND")),
    (None, "words", "ep2d_perf_moco_p2", "", (1500, 30, None), EP, "", SIEMENS),
    (None, "words", "TOF_3D_multi-slab", "", (22, 3.6, None), GR, "", SIEMENS),
    (None, "words", "t1_mprage_SUB", "", (1900, 2.7, 900), MPRAGE, "", ("DERIVED", "PRIMARY", "SUBTRACT")),
    (None, "words", "t1_mprage_sag_iso_MPR_Tra", "", (1900, 2.7, 900), MPRAGE, "", ("DERIVED", "SECONDARY", "MPR")),
    (None, "words", "t2_tirm_cor_fs STIR", "", (4000, 34, 150), TSE_IR, "", SIEMENS),
    (None, "words", "pd+t2_tse_tra", "pd+t2_tse_tra", (3000, 14, None), SE, "", SIEMENS),
    ("t2w", "times", "pd+t2_tse_tra", "pd+t2_tse_tra", (3000, 98, None), SE, "", SIEMENS),
    ("t2w", "times", "PD/T2 TSE", "", (2500, 100, None), SE, "", PHILIPS),
    (None, "words", "t1_mp2rage_sag_INV2", "", (5000, 2.98, 2500), MPRAGE, "", SIEMENS),
    (None, "words", "gre_field_mapping", "", (400, 4.92, None), GR, "", SIEMENS),
    (None, "words", "t2_ci3d_tra CISS", "", (5.8, 2.6, None), GR, "", SIEMENS),
    # Siemens, German
    ("t1n", "words", "T1 tra nativ", "", (500, 8.7, None), SE, "", SIEMENS),
    ("t1n", "words", "T1 MPRAGE ohne KM", "", (1900, 2.7, 900), MPRAGE, "Gadovist", SIEMENS),
    ("t1c", "words", "T1 MPRAGE sag mit KM", "", (1900, 2.7, 900), MPRAGE, "", SIEMENS),
    ("t1c", "words", "t1_se_tra_nach_KM", "", (550, 12, None), SE, "", SIEMENS),
    ("t1c", "words", "T1 tra nach Kontrastmittel", "", (550, 12, None), SE, "", SIEMENS),
    ("t2w", "words", "T2 TSE tra Schädel", "", (4800, 95, None), SE, "", SIEMENS),
    ("t2f", "words", "FLAIR kor", "", (8500, 110, 2440), TSE_IR, "", SIEMENS),
    (None, "words", "Diffusion tra", "", (3900, 95, None), EP, "", SIEMENS),
    (None, "words", "T2 Stern tra", "", (700, 25, None), GR, "", SIEMENS),
    # GE
    ("t1n", "words", "SAG T1 FLAIR", "", (2250, 24, 780), TSE_IR, "", GE),
    ("t1n", "words", "Ax T1 FSPGR BRAVO pre", "", (8.2, 3.2, 450), GR, "", GE),
    ("t1n", "times", "Ax 3D BRAVO", "", (8.2, 3.2, 450), GR, "", GE),
    ("t1c", "words", "BRAVO post", "", (8.2, 3.2, 450), GR, "", GE),
    ("t1c", "words", "FSPGR +C", "", (7.4, 2.8, 400), GR, "", GE),
    ("t1c", "words", "AX_T1_POST_GD_FLAIR", "", (2500, 24, 860), TSE_IR, "MAGNEVIST", GE),
    ("t1c", "words", "Ax T1 +C", "", (600, 14, None), SE, "", GE),
    ("t1c", "words", "+C AX T1 FAT SAT", "", (650, 10, 150), SE, "", GE),
    ("t2w", "words", "Ax T2 FRFSE PROPELLER", "", (4500, 100, None), SE, "", GE),
    ("t2w", "words", "Sag CUBE T2", "", (2500, 95, None), SE, "", GE),
    ("t2f", "words", "Ax T2 FLAIR FS", "", (9000, 145, 2250), TSE_IR, "", GE),
    ("t2f", "words", "Sag CUBE T2 FLAIR", "", (6500, 127, 1950), ("SE", "IR"), "", GE),
    (None, "words", "3-Plane Loc", "", (5.4, 1.8, None), GR, "", GE),
    (None, "words", "Ax T2* GRE", "", (550, 20, None), GR, "", GE),
    (None, "words", "T2* GRE", "", (600, 9, None), GR, "", GE),
    (None, "words", "Ax SWAN", "", (40, 24, None), GR, "", GE),
    (None, "words", "Ax DWI b1000", "", (8000, 80, None), EP, "", GE),
    (None, "words", "Apparent Diffusion Coefficient (mm2/s)", "", (8000, 80, None), EP, "", ("DERIVED", "PRIMARY")),
    (None, "words", "3D ASL (non-contrast)", "", (4600, 10.5, None), SE, "", GE),
    (None, "words", "COL:Ax 3D TOF", "", (24, 2.7, None), GR, "", ("DERIVED", "SECONDARY", "PROJECTION IMAGE")),
    (None, "words", "FIESTA 3D", "", (5.2, 2, None), GR, "", GE),
    (None, "words", "Ax STIR", "", (5000, 42, 160), TSE_IR, "", GE),
    (None, "words", "Cor Reformat T1 BRAVO", "", (8.2, 3.2, 450), GR, "", ("DERIVED", "SECONDARY", "REFORMATTED")),
    # Philips
    ("t1n", "words", "sT1W_3D_TFE", "", (8.1, 3.7, None), GR, "", PHILIPS),
    ("t1n", "words", "T1W_SE", "", (500, 15, None), SE, "", PHILIPS),
    ("t1n", "words", "T1W_IR_TSE", "", (3000, 15, 400), TSE_IR, "", PHILIPS),
    ("t1c", "words", "eT1W_3D_TFE_Gd", "", (8.1, 3.7, None), GR, "", PHILIPS),
    ("t1c", "words", "T1W_TSE_GADO", "", (600, 12, None), SE, "", PHILIPS),
    ("t1c", "times", "sT1W_3D_TFE", "", (8.1, 3.7, None), GR, "DOTAREM", PHILIPS),
    ("t2w", "words", "T2W_TSE", "", (3000, 80, None), SE, "", PHILIPS),
    ("t2f", "words", "FLAIR_longTR", "", (11000, 125, 2800), TSE_IR, "", PHILIPS),
    ("t2f", "words", "sFLAIR_3D_VISTA", "", (4800, 340, 1660), TSE_IR, "", PHILIPS),
    (None, "words", "Survey", "", (11, 4.6, None), GR, "", PHILIPS),
    (None, "words", "DWI_SSh", "", (3500, 66, None), ("SE", "EP"), "", PHILIPS),
    (None, "words", "SWIp", "", (31, 7.2, None), GR, "", PHILIPS),
    (None, "words", "T2W_FFE", "", (700, 16, None), GR, "", PHILIPS),
    (None, "words", "Ref_SENSE_Head", "SENSE ref scan", (4, 0.7, None), GR, "", PHILIPS),
    (None, "words", "PD/T2 TSE", "", (2500, 20, None), SE, "", PHILIPS),
    # French
    ("t1n", "words", "AX T1 SANS INJECTION", "", (520, 12, None), SE, "", PHILIPS),
    ("t1c", "words", "3D T1 GADO", "", (8.1, 3.7, None), GR, "", PHILIPS),
    ("t1c", "words", "AX T1 APRES INJECTION", "", (520, 12, None), SE, "", GE),
    ("t1c", "words", "T1 EG 3D injecté", "", (8.1, 3.7, None), GR, "", GE),
    ("t2w", "words", "AX T2 TSE cérébral", "", (4800, 100, None), SE, "", SIEMENS),
    ("t2f", "words", "COR FLAIR", "", (9000, 120, 2500), TSE_IR, "", PHILIPS),
    (None, "words", "Repérage 3 plans", "", (5, 2, None), GR, "", GE),
    (None, "words", "T1 soustraction", "", (520, 12, None), SE, "", SIEMENS),
    # Spanish, Italian
    ("t1n", "words", "T1 AXIAL SIN CONTRASTE", "", (560, 12, None), SE, "Gadovist", GE),
    ("t1c", "words", "T1 AXIAL CON CONTRASTE", "", (560, 12, None), SE, "", GE),
    ("t1c", "words", "T1 3D post contrasto", "", (8.2, 3.2, 450), GR, "", GE),
    ("t1c", "words", "T1 SE assiale con mdc", "", (560, 12, None), SE, "", PHILIPS),
    ("t1n", "words", "T1 SE assiale senza mdc", "", (560, 12, None), SE, "", PHILIPS),
    ("t2w", "words", "T2 TSE assiale", "", (4500, 100, None), SE, "", SIEMENS),
    ("t2f", "words", "FLAIR assiale", "", (9000, 110, 2500), TSE_IR, "", SIEMENS),
    (None, "words", "Difusión axial", "", (5000, 90, None), EP, "", GE),
    (None, "words", "Perfusione DSC", "", (1500, 30, None), EP, "", GE),
]

NAMES = {
    "t1n": (
        "t1_mprage_sag_nativ; MPRAGE; 3D T1 MPRAGE PRE CONTRAST; AX T1 PRE; SAG T1 PRE GD; OAx T1 FLAIR; "
        "T1 SIN GADOLINIO; T1 avant injection; T1 sans gado; T1 SE SAG basale; T1 pre mdc; "
        "WIP T1W_3D_TFE SENSE; T1W_FFE; VISTA T1; Ax FSPGR 3D; T1 SPACE; Postop T1"
    ),
    "t1c": (
        "t1_mprage_sag_KM; T1w MPR sag +KM; MPRAGE GD; 3D T1 MPRAGE POST CONTRAST; AX T1 SE POST; "
        "AXIAL T1 POST CONTRAST FS; COR T1 POST GAD; Ax T1 FSE C+; T1 C+ 3D; t1_tse_dark-fluid_tra_KM; "
        "AX T1 FLAIR + C; AX T1 FLAIR POST; T1 CON GADOLINIO; T1 GD; T1 EG gado axial; T1 après gado; "
        "SAG 3D T1 IV+; T1_3D_INJ; T1 post mdc; T1 dopo mdc; T1 VIBE DIXON W post; WIP T1W_3D_TFE_CE SENSE; "
        "sT1W_3D_FFE_GD; T1_TFE_Gado_iso; BRAVO+C; AX 3D FSPGR+C; Ax FSPGR 3D Gd; Sag T1 CUBE +C FS; "
        "BLACK BLOOD T1 SPACE KM; T1 stereotactic post gad; Brainlab T1 GD; T1 MPRAGE post-op post Gd; "
        "pre-op T1 +C"
    ),
    "t2w": (
        "3D_Brain_VIEW_T2; T2 AX; AX T2 FSE FS; t2_tse_tra_fs; T2 haste tra; Ax T2 prop; AX T2 W/O FS; "
        "T2 W TSE DRIVE CLEAR; T2 tra TSE HR; Ax T2 FRFSE ASSET"
    ),
    "t2f": (
        "OAx T2 FLAIR; AX FLAIR PRE; 3D FLAIR CUBE +C; FLAIR SPACE 3D sag; t2_spc_da-fl_irprep_sag; "
        "T2W_FLAIR_SPIR; Brain_FLAIR; PROPELLER FLAIR; 3D_Brain_VIEW_FLAIR_SHC"
    ),
    None: (
        "T2W_DRIVE CISS; AX GRE T2 STAR; AX T2* FFE; Perfusion T2*; ax perfusion; ASL; MRA HEAD; "
        "VEN_BOLD_HR; Sag Loc; 3PL LOC; 3-pl T2* FGRE; Calibration Scan; ADC (10^-6 mm²/s); dADC; eADC; "
        "Average DC; ISO_DWI; DTI 64 dir; T1 MAP; 3D ARTERIELLE ANGIO; Sub T1; T1 SUB POST-PRE; PJN:COR T1; "
        "MPR cor T1 KM; t1_mprage_tra_MPR_sag; COR MPR T1 POST; AX REFORMAT T1 POST; "
        "T1 post Gd reformatted coronal; TRACE_B1000; BOLD motor; MRS SVS; Survey_MST; T2 DIR sag 3D; "
        "ASSET calibration"
    ),
}
"""What series are called whose headers say nothing else; in between "; "."""


def _header(description, protocol="", times=(None, None, None), sequence=(), agent="", image_type=SIEMENS, **more):
    header = Dataset()
    header.Modality, header.SeriesDescription, header.ImageType = "MR", description, list(image_type)
    header.ProtocolName = protocol or description
    if sequence:
        header.ScanningSequence = list(sequence)
    for name, value in zip(("RepetitionTime", "EchoTime", "InversionTime"), times, strict=True):
        if value is not None:
            setattr(header, name, value)
    if agent:
        header.ContrastBolusAgent = agent
    for name, value in more.items():
        setattr(header, name, value)
    return header


def _id(row):
    return f"{row[2]} {row[4]}"


def test_the_table_is_long_enough():
    assert len(TABLE) >= 60


@pytest.mark.parametrize("row", TABLE, ids=_id)
def test_role_by_times(row):
    role, _, description, protocol, times, sequence, agent, image_type = row
    found = role_of(_header(description, protocol, times, sequence, agent, image_type), 30)
    assert found.role == role, found.reason
    assert found.reason


@pytest.mark.parametrize("row", [row for row in TABLE if row[1] == "words"], ids=_id)
def test_role_by_words_alone(row):
    role, _, description, protocol, _, _, _, image_type = row
    found = role_of(_header(description, protocol, image_type=image_type[:2]), 30)
    assert found.role == role, found.reason


@pytest.mark.parametrize("row", [row for row in TABLE if row[0] not in (None, "t1c", "t1n")], ids=_id)
def test_role_by_times_alone(row):
    """As in studies whose descriptions were removed."""
    _, _, description, _, times, sequence, _, image_type = row
    inverted = "without a time" in description
    found = role_of(_header("", "", times, TSE_IR if inverted else sequence, "", image_type), 30)
    assert found.role == row[0], found.reason


@pytest.mark.parametrize(
    ("role", "name"), [(role, name) for role, names in NAMES.items() for name in names.split("; ")]
)
def test_role_by_name(role, name):
    found = role_of(_header(name, image_type=()), 60)
    assert found.role == role, found.reason


@pytest.mark.parametrize("repetition_ms", [None, 4000, 11000])
def test_flair_of_any_repetition_time(repetition_ms):
    assert role_of(_header("", "", (repetition_ms, 120, 1650), TSE_IR), 30).role == "t2f"


def test_agent_of_an_enhanced_object():
    header = _header("3D T1 TFE", "", (8.1, 3.7, None), GR)
    assert not has_agent(header)
    code = Dataset()
    code.CodeMeaning = "Gadoterate"
    header.ContrastBolusAgentSequence = [code]
    assert has_agent(header)
    assert role_of(header, 100).role == "t1c"


@pytest.mark.parametrize("agent", ["no", "None", "0", " "])
def test_an_agent_that_is_none(agent):
    assert role_of(_header("T1 SE", "", (550, 12, None), SE, agent), 30).role == "t1n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Modality": "CT"}, "no MR image"),
        ({"SamplesPerPixel": 3}, "coloured"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, "computed"),
        ({"DiffusionBValue": 1000.0}, "diffusion"),
        ({"AngioFlag": "Y"}, "angiography"),
    ],
)
def test_what_is_none_of_the_four_says_why(changes, said):
    header = _header("T2 TSE", "", (4800, 95, None), SE, **changes)
    assert role_of(header, 30).role is None
    assert said in role_of(header, 30).reason


def test_a_series_of_few_slices_is_left_out():
    assert role_of(_header("T2", "", (4800, 95, None), SE), 5).reason == "5 slices only"


def test_nothing_is_known():
    assert role_of(_header("Series 5"), 30).role is None
    assert role_of(Dataset(), 30).role is None
