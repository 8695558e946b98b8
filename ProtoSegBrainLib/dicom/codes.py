"""The standard codes of what is found, as DICOM and 3D Slicer have them; needs no package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A code of a scheme, and its meaning."""

    value: str
    scheme: str
    meaning: str


CATEGORY = Code("49755003", "SCT", "Morphologically Altered Structure")
BRAIN = Code("12738006", "SCT", "Brain")
FOUND = {
    "NCR": Code("6574001", "SCT", "Necrosis"),
    "ED": Code("79654002", "SCT", "Edema"),
    "ET": Code("C113842", "NCIt", "Enhancing Lesion"),
    "TC": Code("TC", "99PSB", "Tumor core"),
    "WT": Code("WT", "99PSB", "Whole tumor with edema"),
}
"""Classes after CID 7168, whose Necrosis stands for the core that does not enhance as well; it has no regions."""
RESEARCH = "research use only"
PROGRAM = "ProtoSegBrain"
