"""Images and results between two processes, through a folder: arrays as .npy, all else as one JSON file. No pickle.

Faster than files for people, because nothing is compressed, and exact: what arrives is what was sent. Needs no torch.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.correction.embedding import Embedding
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.network.evidence import Evidence
from ProtoSegBrainLib.result.prediction import Prediction

CONTENT = "content.json"
"""Written last: where it lies, the rest is whole."""


def send_volumes(volumes: Mapping[str, Volume], folder: Path) -> None:
    """Write images by role into a folder that is made here.

    Raises:
        FileExistsError: The folder is there already.
        OSError: They could not be written, for example because the disk is full; the folder is gone again.
    """
    with _new_folder(folder):
        affines = {role: volume.affine.tolist() for role, volume in volumes.items()}
        _send({role: volume.array for role, volume in volumes.items()}, {"affines": affines}, folder)


def receive_volumes(folder: Path) -> dict[str, Volume]:
    """What ``send_volumes`` wrote.

    Raises:
        ValueError: The folder does not hold images that were sent whole.
    """
    arrays, values = _receive(folder)
    with _damage_named(folder):
        return {role: Volume(arrays[role], np.array(affine)) for role, affine in values["affines"].items()}


def send_prediction(prediction: Prediction, folder: Path) -> None:
    """Write a result into a folder that is made here; raises as ``send_volumes`` does."""
    members = {field.name: getattr(prediction, field.name) for field in fields(prediction)}
    arrays = {name: members.pop(name) for name, member in [*members.items()] if isinstance(member, np.ndarray)}
    with _new_folder(folder):
        _send(arrays, {**members, "evidence": prediction.evidence.to_dict()}, folder)


def receive_prediction(folder: Path) -> Prediction:
    """What ``send_prediction`` wrote.

    Raises:
        ValueError: The folder does not hold a result that was sent whole.
    """
    arrays, values = _receive(folder)
    with _damage_named(folder):
        evidence = Evidence.from_dict(values["evidence"])
        members: dict[str, Any] = {**values, **arrays, "evidence": evidence, "warnings": tuple(values["warnings"])}
        return Prediction(**members)


def send_embedding(embedding: Embedding, folder: Path) -> None:
    """Write an embedding into a folder that is made here; raises as ``send_volumes`` does."""
    with _new_folder(folder):
        arrays = {"vectors": embedding.vectors.astype(np.float16), "affine": embedding.affine}
        _send(arrays, {"case_id": embedding.case_id, "model": embedding.model}, folder)


def receive_embedding(folder: Path) -> Embedding:
    """What ``send_embedding`` wrote, to half precision.

    Raises:
        ValueError: The folder does not hold an embedding that was sent whole.
    """
    arrays, values = _receive(folder)
    with _damage_named(folder):
        return Embedding(vectors=arrays["vectors"].astype(np.float32), affine=arrays["affine"], **values)


def _send(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], folder: Path) -> None:
    orders = {name: _save(folder / f"{name}.npy", array) for name, array in arrays.items()}
    (folder / CONTENT).write_text(json.dumps({"arrays": orders, "values": values}), encoding="utf-8")


def _receive(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with _damage_named(folder):
        content = json.loads((folder / CONTENT).read_text(encoding="utf-8"))
        arrays = {name: _load(folder / f"{name}.npy", order) for name, order in content["arrays"].items()}
        return arrays, content["values"]


def _save(path: Path, array: np.ndarray) -> list[int]:
    """Write the array with its axes in the order of memory, which spares a transposition; returns that order."""
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    np.save(path, np.ascontiguousarray(array.transpose(order)), allow_pickle=False)
    return order


def _load(path: Path, order: list[int]) -> np.ndarray:
    return np.load(path, allow_pickle=False).transpose(np.argsort(order))


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """A folder that is filled or not there."""
    folder.mkdir(parents=True)
    try:
        yield
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            free_mb = shutil.disk_usage(folder.parent).free / 1e6
            raise OSError(
                f"The images could not be written to the temporary folder {folder.parent} ({error}); "
                f"{free_mb:.0f} MB are free there. Make room, or let TMPDIR name another folder."
            ) from error
        raise


@contextlib.contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    """Whatever a damaged folder leads to becomes one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise ValueError(f"{folder} does not hold what was sent ({type(error).__name__}: {error}).") from error
