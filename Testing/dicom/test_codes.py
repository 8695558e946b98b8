"""Codes are of known schemes, short enough for DICOM, and each stands once."""

from ProtoSegBrainLib.dicom import codes


def test_codes_fit_into_dicom():
    every = [codes.CATEGORY, codes.BRAIN, *codes.FOUND.values()]
    for code in every:
        assert code.scheme in ("SCT", "NCIt", "99PSB")
        assert 0 < len(code.value) <= 16
        assert 0 < len(code.meaning) <= 64
    assert len({(code.value, code.scheme) for code in every}) == len(every)


def test_only_regions_have_codes_of_our_own():
    assert {name for name, code in codes.FOUND.items() if code.scheme == "99PSB"} == {"WT", "TC"}
