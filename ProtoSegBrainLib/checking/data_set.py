"""A folder of cases on the bench: a table of what is in them, what is wrong with them, and two pictures.

``check_data`` looks at each case (case.py) and then across them: copies of one image, two cases of one name,
labels in different codings. ``write_check`` makes the files.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.checking.case import SEVERITIES, CheckedCase, Problem, check_case
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.labels import CLASSES, MODALITIES, MODALITY_NAMES, REGIONS, listed
from ProtoSegBrainLib.network.calibration import Normality
from ProtoSegBrainLib.progress import Progress

SAME_IMAGE = 0.005
"""Largest difference between the fingerprints of copies; between different images of real cases it is .05 and more."""
SAME_SCAN, VOLUME_WEIGHT = 0.07, 20.0
"""The same for four images at once, without their ends: one scan with 16 and with 7 bits differs by .04 and .06, two
patients by .14 and more. The logarithm of the volume has a weight: one mask, one volume."""
ONE_CODING = {"brats2024": "brats2023", "msd": "nnunet"}
"""The same, but for the cavity that some cases have."""
MOST_THREADS = 4
VOLUMES = (*CLASSES[1:], *(region for region in REGIONS if region not in CLASSES))


def check_data(
    folder: str | os.PathLike[str],
    reference: Normality | None = None,
    on_progress: Progress | None = None,
    reading: Reading | None = None,
) -> list[CheckedCase]:
    """Check every case of a data folder; the cases are in the order of their folders' names.

    Args:
        folder: Holds a folder per case, or is a case itself, or has the Decathlon's ``imagesTr``.
        reference: How cases with their modalities in order look (of a model's card); None: that is not checked.
        on_progress: Called with a fraction from 0 to 1 and what is being done.
        reading: What the files leave open.

    Raises:
        FileNotFoundError: No such folder, or nothing in it that could be a case.
    """
    places = list_cases(folder)
    checked = []
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        for case in pool.map(lambda place: check_case(place, reference, reading), places):
            checked.append(case)
            if on_progress:
                on_progress(len(checked) / len(places), f"Checking {case.case_id}")
    found = [*_shared_names(checked), *_copies(checked), *_same_scans(checked), *_mixed_codings(checked)]
    more: dict[int, list[Problem]] = defaultdict(list)
    for index, problem in found:
        more[index].append(problem)
    return [replace(case, problems=(*case.problems, *more[index])) for index, case in enumerate(checked)]


def summary(cases: Sequence[CheckedCase]) -> dict[str, Any]:
    """The whole in a few numbers: cases by their worst problem, label codings, quartiles of the volumes in ml."""
    labelled = [case.facts for case in cases if "coding" in case.facts]
    volumes = {}
    for name in VOLUMES if labelled else ():
        values = np.array([facts[f"{name}_ml"] for facts in labelled])
        quartiles = dict(
            zip(("min", "q25", "median", "q75", "max"), np.quantile(values, np.linspace(0, 1, 5)), strict=True)
        )
        volumes[name] = {"n": int((values > 0).sum()), **{key: round(float(ml), 3) for key, ml in quartiles.items()}}
    return {
        "cases": len(cases),
        "labelled": len(labelled),
        "worst": {severity: sum(case.severity == severity for case in cases) for severity in SEVERITIES},
        "codings": dict(Counter(facts["coding"] for facts in labelled)),
        "volumes_ml": volumes,
    }


def table(cases: Sequence[CheckedCase]) -> list[dict[str, Any]]:
    """One row per case: name, path, worst severity, problems, facts; plain types."""
    named = [{"case_id": case.case_id, "path": str(case.path), "severity": case.severity} for case in cases]
    told = [{"problems": [asdict(problem) for problem in case.problems]} for case in cases]
    return [{**name, **problems, **case.facts} for name, problems, case in zip(named, told, cases, strict=True)]


def write_check(cases: Sequence[CheckedCase], out: str | os.PathLike[str]) -> list[Path]:
    """Write ``data_check.csv``, ``data_check.json``, ``cases.png`` (and more pages) and ``data_set.png``."""
    from ProtoSegBrainLib.checking.pictures import draw_cases, draw_data_set

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows, whole = out / "data_check.csv", out / "data_check.json"
    write_whole(rows, _csv(cases))
    write_whole(whole, json.dumps({**summary(cases), "table": table(cases)}, indent=1))
    return [rows, whole, *draw_cases(cases, out), draw_data_set(cases, out / "data_set.png")]


# -- across cases: index of a case, and its problem ----------------------------------------------------------------


def _shared_names(cases: Sequence[CheckedCase]) -> Iterator[tuple[int, Problem]]:
    by_name: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        by_name[case.case_id].append(index)
    for name, indices in by_name.items():
        for index in indices:
            others = [cases[other].path.name for other in indices if other != index]
            if others:
                yield index, Problem("error", f"Another case is called {name}, too: {listed(others)}.")


def _copies(cases: Sequence[CheckedCase]) -> Iterator[tuple[int, Problem]]:
    """Images that are the same, within a case or in two of them."""
    from scipy.spatial import cKDTree

    owners = [(index, role) for index, case in enumerate(cases) for role in case.fingerprints]
    if not owners:
        return
    vectors = np.array([cases[index].fingerprints[role] for index, role in owners])
    pairs: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)
    for first, second in sorted(cKDTree(vectors).query_pairs(SAME_IMAGE, p=np.inf)):
        (one, role), (other, other_role) = owners[first], owners[second]
        pairs[one, other].append((role, other_role))
        if one != other:
            pairs[other, one].append((other_role, role))
    for (one, other), roles in pairs.items():
        named = [(MODALITY_NAMES[mine], MODALITY_NAMES[theirs]) for mine, theirs in roles]
        if one == other:
            same = sorted(set(itertools.chain(*named)))
            yield one, Problem("error", f"{listed(same)} are the same image.")
        else:
            what = listed([mine if mine == theirs else f"{mine} (there {theirs})" for mine, theirs in named])
            yield one, Problem("error", f"{what}: the same image as in {cases[other].path.name}.")


def _same_scans(cases: Sequence[CheckedCase]) -> Iterator[tuple[int, Problem]]:
    """Cases alike in the volume and percentiles of all four images, none a copy of the other: one scan, rescaled."""
    from scipy.spatial import cKDTree

    read = [index for index, case in enumerate(cases) if case.fingerprints]
    if not read:
        return
    prints = np.array([[cases[index].fingerprints[role] for role in MODALITIES] for index in read])
    volumes, percentiles = prints[:, :1, 0] * VOLUME_WEIGHT, prints[:, :, 2:-1]  # ends differ where images are clipped
    vectors = np.hstack([volumes, percentiles.reshape(len(read), -1)])
    for pair in sorted(cKDTree(vectors).query_pairs(SAME_SCAN, p=np.inf)):
        if (np.abs(prints[pair[0]] - prints[pair[1]]).max(axis=1) <= SAME_IMAGE).any():
            continue
        for mine, other in itertools.permutations(read[place] for place in pair):
            text = f"The images seem to be those of {cases[other].path.name} with other grey values: the same scan?"
            yield mine, Problem("warning", text)


def _mixed_codings(cases: Sequence[CheckedCase]) -> Iterator[tuple[int, Problem]]:
    """Labels in another coding than most; one without enhancing tumour does not show its coding."""
    shown = {i: case.facts["coding"] for i, case in enumerate(cases) if case.facts.get("ET_ml", 0) > 0}
    codings = {i: ONE_CODING.get(coding, coding) for i, coding in shown.items()}
    counts = Counter(codings.values())
    if len(counts) < 2:
        return
    usual, _ = counts.most_common(1)[0]
    for index, coding in codings.items():
        if coding != usual:
            text = f"The label is coded as {coding}, most others as {usual}: do they come from one source?"
            yield index, Problem("warning", text)


# -- files ---------------------------------------------------------------------------------------------------------


def _csv(cases: Sequence[CheckedCase]) -> str:
    rows = table(cases)
    for row in rows:
        row["problems"] = " | ".join(f"{problem['severity']}: {problem['text']}" for problem in row["problems"])
    columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
