"""The files of a result: written all or none, and read back; needs no torch.

``<case_id>_seg.nii.gz``
    Classes in the chosen label coding, uint8, on the exact grid of the reference input.
``<case_id>_prob.nii.gz``
    Calibrated probabilities of background, NCR, ED, ET on the same grid. Stored as uint16 with ``scl_slope`` 1/65535:
    half the size of float32 and 1.5e-5 from it at most, so the four still sum to one within 3e-5.
``<case_id>_sim.nii.gz``
    One channel per prototype, float32 and unrounded, on the prototypes' own grid with that grid's own affine:
    ``weight @ similarities + bias`` gives the network's logits. A model without prototypes has no such file.
``<case_id>_unc.nii.gz``
    How unsure it is, 0 to 1, on the grid of the reference input: entropy of the probabilities in units of log 4, and,
    where the result is the mean of several views (``--tta``), a second channel: their disagreement. Stored as uint8
    with ``scl_slope`` 1/255.
``<case_id>_prediction.json``
    Volumes, findings, model, evidence (weight, bias, prototypes, calibration), device, timings, warnings, label coding.

They come to lie there all or none (writer.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.codings import decode_label, encode_label, written_values
from ProtoSegBrainLib.images.formats import read_volume, write_volume
from ProtoSegBrainLib.images.nifti import RESULT_MARK
from ProtoSegBrainLib.images.preparation import Preparation
from ProtoSegBrainLib.images.volume import Volume, voxel_ml
from ProtoSegBrainLib.labels import CLASSES, LABEL_CONVENTIONS, REGIONS
from ProtoSegBrainLib.network.evidence import Evidence
from ProtoSegBrainLib.records import read_json, require, shown, stored
from ProtoSegBrainLib.result.prediction import FINDINGS, PROBABILITY_SLOPE, RESEARCH_USE, VOLUMES, Prediction
from ProtoSegBrainLib.result.uncertainty import entropy
from ProtoSegBrainLib.result.writer import ENDINGS, Writer

UNCERTAINTY_SLOPE = 1 / 255
BYTES_PER_VOXEL, BYTES_PER_SIMILARITY, BYTES_OF_REPORT = 0.5, 0.6, 4e6
"""On a disk: what BraTS cases take, and nearly half of it again."""
SIMILARITY_SPACING_MM = 2.0
SUMMARY: dict[str, Any] = {
    "case_id": str,
    "files": dict[str, str],
    "label_coding": dict[str, Any],
    "volumes_ml": dict[str, float],
    "model": dict[str, Any],
    "evidence": dict[str, Any],
    "device": str,
    "timings_s": dict[str, float],
    "warnings": tuple[str, ...],
}
"""What the JSON file of every result holds."""
LATER: dict[str, Any] = {
    "look": dict[str, float],
    "uncertainty_channels": tuple[str, ...],
    "preparation": dict[str, Any],
}
"""What those of older versions lack."""


def write_prediction(
    prediction: Prediction,
    out_dir: str | Path,
    label_convention: str = "brats2020",
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write the files of a prediction, all or none; returns their paths by kind (a key of ``ENDINGS``).

    Raises:
        FileExistsError: See ``Writer``; or there are files of the case and ``overwrite`` is False.
        ValueError: Unknown ``label_convention``; see ``Writer``.
    """
    _check_convention(label_convention)
    with Writer(prediction.case_id, out_dir) as writer:
        writer.check_older(overwrite=overwrite)
        with writer.folder() as folder:
            files = fill(folder, prediction, label_convention)
    return {kind: writer.path(ENDINGS[kind]) for kind in files}


def fill(
    folder: Path,
    prediction: Prediction,
    label_convention: str = "brats2020",
    settings: Mapping[str, Any] | None = None,
    beside: Mapping[str, Path] | None = None,
) -> dict[str, Path]:
    """Write the files of a prediction into an empty folder, a ``Writer``'s; returns their paths by kind.

    Args:
        folder: Where to.
        prediction: What to write.
        label_convention: Coding of the label map.
        settings: More to say in the JSON file.
        beside: What was written beside them, by kind; the JSON file names it.

    Raises:
        ValueError: Unknown ``label_convention``.
    """
    _check_convention(label_convention)
    kinds = [kind for kind in ENDINGS if kind != "sim" or len(prediction.similarities)]
    files = {kind: folder / f"{prediction.case_id}{ENDINGS[kind]}" for kind in kinds}
    start = time.perf_counter()
    _write_volumes(prediction, files, label_convention)
    timings = {**prediction.timings_s, "write": time.perf_counter() - start}
    files = {**files, **(beside or {})}
    summary = {**_summary(replace(prediction, timings_s=timings), label_convention, files), **(settings or {})}
    files["prediction"].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return files


def size_bytes(shape: Sequence[int], affine: np.ndarray, n_prototypes: int) -> float:
    """About what the files of a result take on a disk; more rather than less.

    Args:
        shape: X, Y, Z of the case.
        affine: Of the case.
        n_prototypes: Of the model.
    """
    n_voxels = float(np.prod(shape))
    similarities_ml = SIMILARITY_SPACING_MM**3 / 1000
    n_similarities = n_prototypes * n_voxels * voxel_ml(affine) / similarities_ml
    return n_voxels * BYTES_PER_VOXEL + n_similarities * BYTES_PER_SIMILARITY + BYTES_OF_REPORT


def read_prediction(folder: str | Path, case_id: str | None = None) -> Prediction:
    """Read back what ``write_prediction`` wrote; the label is decoded to class indices.

    Args:
        folder: Where the files lie.
        case_id: Which case, where the folder holds several.

    Raises:
        FileNotFoundError: No result there, or a file of it is missing.
        ValueError: Several results and no ``case_id``, or a file that is not ours.
    """
    path = _find_summary(Path(folder), case_id)
    try:
        prediction = _assembled(read_summary(path), path)
        _check_parts(prediction, path)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); segment the case again.") from error
    return prediction


def read_summary(path: Path) -> dict[str, Any]:
    """What the JSON file of a result says, without its images.

    Raises:
        ValueError: It is no result of this version of ProtoSegBrain.
    """
    try:
        summary: dict[str, Any] = stored(read_json(path), dict[str, Any])
    except ValueError as error:
        raise ValueError(f"{path} is not a prediction of ProtoSegBrain: {error}") from error
    missing = set(SUMMARY) - set(summary)
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(sorted(missing))}: not a result of this version of ProtoSegBrain; segment again."
        )
    try:
        known = {name: stored(summary[name], kind, name) for name, kind in (SUMMARY | LATER).items() if name in summary}
        _check_names(known)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; segment the case again.") from error
    return summary | known


def _check_names(summary: Mapping[str, Any]) -> None:
    """Refuse files elsewhere, a coding that there is not, and a model without a name."""
    files, convention = summary["files"], summary["label_coding"].get("convention")
    for kind, name in files.items():
        require(Path(name).name == name, f"files.{kind}: expected the name of a file; got {shown(name)}")
    for kind in ("seg", "prob"):
        require(kind in files, f"files.{kind} missing")
    codings = ", ".join(LABEL_CONVENTIONS)
    require(
        str(convention) in LABEL_CONVENTIONS, f"label_coding.convention: expected {codings}; got {shown(convention)}"
    )
    stored(summary["model"].get("name"), str, "model.name")
    regions = stored(summary["model"].get("regions", [*REGIONS]), tuple[str, ...], "model.regions")
    require(set(regions) <= set(REGIONS), f"model.regions: expected of {', '.join(REGIONS)}; got {shown(regions)}")


# -- writing ---------------------------------------------------------------------------------------------------------


def _check_convention(label_convention: str) -> None:
    if label_convention not in LABEL_CONVENTIONS:
        raise ValueError(f"Label coding: expected one of {', '.join(LABEL_CONVENTIONS)}; got {label_convention!r}.")


def _write_volumes(prediction: Prediction, files: dict[str, Path], label_convention: str) -> None:
    """The images, each in its own thread: compression, which takes longest, runs in parallel."""
    description = f"{RESULT_MARK}{' simulated' * prediction.simulated}, research use only"

    def segmentation() -> None:
        volume = Volume(encode_label(prediction.label, label_convention), prediction.affine)
        write_volume(files["seg"], volume, description=description)

    def probabilities() -> None:
        stored = np.empty_like(prediction.probabilities, np.uint16)
        for target, probability in zip(stored, prediction.probabilities, strict=True):
            _store(probability, PROBABILITY_SLOPE, target)
        volume = Volume(np.moveaxis(stored, 0, -1), prediction.affine)
        write_volume(files["prob"], volume, description=description, slope=PROBABILITY_SLOPE)

    def similarities() -> None:
        volume = Volume(np.moveaxis(prediction.similarities, 0, -1), prediction.similarity_affine)
        write_volume(files["sim"], volume, description=description)

    def uncertainty() -> None:
        shares = _uncertainty(prediction).values()
        channels = [_store(share, UNCERTAINTY_SLOPE, np.empty_like(share, np.uint8)) for share in shares]
        array = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
        write_volume(files["unc"], Volume(array, prediction.affine), description=description, slope=UNCERTAINTY_SLOPE)

    jobs = {"prob": probabilities, "sim": similarities, "unc": uncertainty, "seg": segmentation}
    with ThreadPoolExecutor(len(jobs)) as pool:
        for written in [pool.submit(job) for kind, job in jobs.items() if kind in files]:
            written.result()


def _uncertainty(prediction: Prediction) -> dict[str, np.ndarray]:
    """The channels of the uncertainty file by name."""
    channels = {"entropy": entropy(prediction.probabilities)}
    if prediction.disagreement is not None:
        channels["disagreement"] = prediction.disagreement
    return channels


def _store(share: np.ndarray, slope: float, target: np.ndarray) -> np.ndarray:
    """Fill ``target`` with ``share`` (X, Y, Z) in whole numbers of ``slope``, rounded; returns it.

    Slice by slice, which the processor's cache can hold.
    """
    for source, slice_ in zip(share.T, target.T, strict=True):
        slice_[...] = source * np.float32(1 / slope) + np.float32(0.5)
    return target


def _summary(prediction: Prediction, label_convention: str, files: dict[str, Path]) -> dict[str, Any]:
    """What the JSON file says."""
    values = {str(value): name for value, name in zip(written_values(label_convention), CLASSES, strict=True)}
    return {
        "case_id": prediction.case_id,
        "statement": RESEARCH_USE,
        "simulated": prediction.simulated,
        "volumes_ml": prediction.volumes_ml,
        "warnings": list(prediction.warnings),
        **prediction.findings,
        "label_coding": {"convention": label_convention, "values": values},
        "model": prediction.model,
        "evidence": prediction.evidence.to_dict(),
        **({"preparation": prediction.preparation} if prediction.preparation else {}),
        "look": {name: round(value, 6) for name, value in prediction.look.items()},
        "uncertainty_channels": ["entropy"] + ["disagreement"] * (prediction.disagreement is not None),
        "device": prediction.device,
        "timings_s": {stage: round(seconds, 4) for stage, seconds in prediction.timings_s.items()},
        "files": {kind: path.name for kind, path in files.items() if kind != "prediction"},
    }


# -- reading ---------------------------------------------------------------------------------------------------------


def _find_summary(folder: Path, case_id: str | None) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; name the one in which segment wrote the result.")
    ending = ENDINGS["prediction"]
    results = {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*{ending}"))}
    some = ", ".join((*list(results)[:3], *["..."] * (len(results) > 3)))
    if not results:
        raise FileNotFoundError(f"There is no result in {folder}: no file *{ending}.")
    if case_id is None and len(results) > 1:
        raise ValueError(f"{folder} holds results of {len(results)} cases, {some}; say which (--case-id).")
    if case_id is not None and case_id not in results:
        raise FileNotFoundError(f"There is no result of case {case_id} in {folder}, only of {some}.")
    return results[case_id or next(iter(results))]


def _assembled(summary: dict[str, Any], path: Path) -> Prediction:
    """The result from what its JSON file says and from the images that it names."""
    names = {kind: path.parent / name for kind, name in summary["files"].items()}
    kinds = ("seg", "prob", "sim") if "sim" in names else ("seg", "prob")
    with ThreadPoolExecutor(len(kinds)) as pool:
        seg, prob, *sim = pool.map(read_volume, [names[kind] for kind in kinds])
    convention = summary["label_coding"]["convention"]
    return Prediction(
        case_id=summary["case_id"],
        label=decode_label(seg.array, convention)[0],
        probabilities=_channels_first(prob.array),
        similarities=_channels_first(sim[0].array) if sim else np.empty((0, *seg.shape), np.float32),
        similarity_affine=(sim or [seg])[0].affine,
        affine=seg.affine,
        volumes_ml=summary["volumes_ml"],
        model=summary["model"],
        evidence=_evidence(summary, path),
        device=summary["device"],
        timings_s=summary["timings_s"],
        warnings=tuple(summary["warnings"]),
        disagreement=_read_disagreement(summary, names),
        look=summary.get("look", {}),
        preparation=_preparation(summary, path),
        findings={name: summary[name] for name in FINDINGS if name in summary},
    )


def _evidence(summary: dict[str, Any], path: Path) -> Evidence:
    try:
        return Evidence.from_dict(summary["evidence"])
    except ValueError as error:
        raise ValueError(f"{path} is not a prediction of ProtoSegBrain: its evidence is damaged ({error}).") from error


def _preparation(summary: dict[str, Any], path: Path) -> dict[str, Any]:
    """What was done to a raw study, checked."""
    if not summary.get("preparation"):
        return {}
    try:
        return Preparation.from_dict(summary["preparation"]).to_dict()
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; segment the case again.") from error


def _read_disagreement(summary: dict[str, Any], files: dict[str, Path]) -> np.ndarray | None:
    """The channel of that name, where the file has it; results of before it existed have no such file."""
    channels = summary.get("uncertainty_channels", [])
    if "disagreement" not in channels:
        return None
    maps = _channels_first(read_volume(files["unc"]).array)
    return maps[channels.index("disagreement")].astype(np.float32, copy=False)


def _channels_first(array: np.ndarray) -> np.ndarray:
    """(X, Y, Z, C) -> (C, X, Y, Z); a single channel has lost its axis in the file."""
    return array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0)


def _check_parts(prediction: Prediction, path: Path) -> None:
    """Refuse files that do not belong together."""
    evidence = prediction.evidence
    classes, prototypes = len(CLASSES), len(evidence.prototype_class)
    fits = {
        "probabilities": prediction.probabilities.shape == (classes, *prediction.label.shape),
        "similarities": len(prediction.similarities) == prototypes,
        "weight": evidence.weight.shape == (classes, prototypes),
        "bias": evidence.bias.shape == (classes,),
        "prototype classes": set(evidence.prototype_class) <= set(CLASSES),
        "volumes": set(prediction.volumes_ml) == set(VOLUMES),
    }
    odd = [name for name, is_fit in fits.items() if not is_fit]
    if odd:
        raise ValueError(f"{path} and its images do not belong together ({', '.join(odd)}); segment the case again.")
