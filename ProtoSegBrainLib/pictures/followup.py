"""The report of a follow-up for a person: one HTML file that needs nothing else, on a screen or on paper.

Its numbers are those of ``followup.json``; its words and its order are those of ``followup.html``.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.followup.follow import FollowUp
from ProtoSegBrainLib.followup.maps import CHANGE_COLOURS
from ProtoSegBrainLib.labels import MODALITY_NAMES, REGION_NAMES, REGIONS
from ProtoSegBrainLib.pictures.drawing import colour_of
from ProtoSegBrainLib.pictures.followup_pictures import followup_pictures, shown_visits
from ProtoSegBrainLib.pictures.page import page
from ProtoSegBrainLib.pictures.slices import css
from ProtoSegBrainLib.result.prediction import RESEARCH_USE


def write_followup_report(followup: FollowUp, path: str | os.PathLike[str]) -> Path:
    """Write the report of a follow-up as one HTML file, whole or not at all.

    Args:
        followup: What changed.
        path: Of the file; its folder must exist.
    """
    values = {
        "followup": followup,
        "pictures": followup_pictures(followup),
        "hidden": len(followup.visits) - len(shown_visits(followup)),
        "is_simulated": any(visit.prediction.simulated for visit in followup.visits),
        "colours": {name: css(colour_of(name)) for name in (*REGIONS, "NCR", "ED")},
        "change_colours": {name: css(colour) for name, colour in CHANGE_COLOURS.items()},
        "region_names": {**REGION_NAMES, "NCR": "Necrotic / non-enhancing core", "ED": "Oedema"},
        "modality_names": MODALITY_NAMES,
        "research_use": RESEARCH_USE,
        "today": datetime.date.today(),
    }
    write_whole(path, page("followup.html", values))
    return Path(path)
