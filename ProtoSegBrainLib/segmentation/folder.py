"""Every case of a folder: segmented, written, listed in ``manifest.csv``; here, in several processes, or on a cluster.

What is done is told by the files themselves, so a run that was interrupted goes on where it stopped: a case is done
when its ``_prediction.json``, the last file to be put in place, names this model and these settings and all its files
are there. Device, precision and tiles change no more than rounding and are not asked for.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import importlib
import io
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ProtoSegBrainLib.files import check_folder, write_whole
from ProtoSegBrainLib.images.case import Case, list_cases, read_case
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS
from ProtoSegBrainLib.network.model import SegmentationNet
from ProtoSegBrainLib.network.weights import BUNDLED, ModelCard, load_model, read_card
from ProtoSegBrainLib.pictures.report import write_report
from ProtoSegBrainLib.result.prediction import (
    ENDINGS,
    REPORT_ENDING,
    VOLUMES,
    Prediction,
    output_files,
    read_summary,
    write_prediction,
)
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

MANIFEST = "manifest.csv"
DONE, FAILED = "done", "failed"
SCENE_ENDING = "_scene.mrb"
SCREENSHOT_ENDING = "_screenshot.png"
TEMPORARY = ".segmenting_"
"""How the folder's name begins in which the files of a case wait until all are there; the case's name follows."""
COLUMNS = (
    *("case_id", "status", "message", "seconds"),
    *(f"{name}_ml" for name in VOLUMES),
    *("model", "identity", "labels", "tta", "device", "files"),
)


@dataclass(frozen=True)
class FolderConfig:
    """What is made of every case.

    Attributes:
        model: Weights; None for the bundled ones.
        labels: Coding of the label files.
        overwrite: Whether results of another model or other settings may be replaced.
        report: Whether to write the report (HTML).
        mrb: Whether to write a scene for 3D Slicer.
        screenshot: Whether to write a picture of that scene.
        predict: How to compute.
    """

    model: Path | None = None
    labels: str = "brats2020"
    overwrite: bool = False
    report: bool = True
    mrb: bool = False
    screenshot: bool = False
    predict: PredictConfig = field(default_factory=PredictConfig)

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the files of a case that are there beside its prediction."""
        wanted = {REPORT_ENDING: self.report, SCENE_ENDING: self.mrb, SCREENSHOT_ENDING: self.screenshot}
        return tuple(ending for ending, is_wanted in wanted.items() if is_wanted)


@dataclass(frozen=True)
class Job:
    """One case, with all that a worker must know.

    Attributes:
        case_id: Names the files.
        place: What ``read_case`` takes.
        out: Folder for the files.
        config: What to make.
        identity: SHA-256 of the weights to use.
        threads: To compute with; None for all.
    """

    case_id: str
    place: Path
    out: Path
    config: FolderConfig
    identity: str
    threads: int | None = None

    def file(self, ending: str) -> Path:
        """Where a file of this case belongs."""
        return self.out / f"{self.case_id}{ending}"


@dataclass(frozen=True)
class Entry:
    """A line of the manifest; ``columns`` are those of a case that is done."""

    case_id: str
    status: str
    message: str
    seconds: float
    columns: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """By ``COLUMNS``."""
        return {**dict.fromkeys(COLUMNS, ""), **self.columns} | {
            "case_id": self.case_id,
            "status": self.status,
            "message": self.message,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Summary:
    """How a run went: all its cases, and how many of them were done before."""

    entries: tuple[Entry, ...]
    n_before: int

    @property
    def failed(self) -> dict[str, str]:
        """Why, by case."""
        return {entry.case_id: entry.message for entry in self.entries if entry.status == FAILED}


def segment_folder(
    data: Path,
    out: Path,
    config: FolderConfig | None = None,
    *,
    workers: int | None = None,
    cluster: str | None = None,
) -> Summary:
    """Segment all cases of a data folder that are not done yet; a case that fails does not stop the rest.

    Args:
        data: What ``list_cases`` takes.
        out: Folder for the files of all cases and the manifest, which is rewritten after each case.
        config: What to make of each.
        workers: Compute in as many processes of this machine; None: in this one.
        cluster: Address of a Dask scheduler, instead. Its workers must see both folders and the model under the same
            paths; one thread each serves best.

    Raises:
        FileNotFoundError: No case, or no model.
        ValueError: An unknown label coding; no such number of workers; no scheduler at the address; a manifest that is
            not ours; what ``list_cases`` raises.
        ImportError: A package is missing for ``workers``, ``cluster``, or the scenes.
    """
    config = config or FolderConfig()
    _check(config, workers, cluster)
    check_folder(out)
    jobs = _jobs(data, out, config, workers)
    out.mkdir(parents=True, exist_ok=True)
    manifest = _Manifest(out / MANIFEST, [job.case_id for job in jobs])
    entries = {job.case_id: entry for job in jobs if (entry := _found(job))}
    manifest.add(*entries.values())
    todo = [job for job in jobs if job.case_id not in entries]
    n_before = len(entries)
    logger.info("Cases: %d, done before: %d.", len(jobs), n_before)
    on_workers = workers is not None or cluster is not None
    try:
        with contextlib.closing(_on_workers(todo, workers, cluster) if on_workers else _here(todo)) as results:
            for entry in results:
                entries[entry.case_id] = entry
                manifest.add(entry)
                logger.info("[%d/%d] %s", len(entries), len(jobs), _said(entry))
    finally:
        _clear(out, {job.case_id for job in todo})  # after workers that were ended
        unheard = [entry for job in todo if job.case_id not in entries and (entry := _found(job))]
        manifest.add(*unheard)
    return Summary(tuple(entries[job.case_id] for job in jobs), n_before)


def _check(config: FolderConfig, workers: int | None, cluster: str | None) -> None:
    """Refuse, before any work, what would fail every case."""
    if config.labels not in LABEL_CONVENTIONS:
        raise ValueError(f"Label coding: expected one of {', '.join(LABEL_CONVENTIONS)}; got {config.labels!r}.")
    if workers is not None and cluster is not None:
        raise ValueError("Give either workers, on this machine, or a cluster, which has its own.")
    if workers is not None and workers < 1:
        raise ValueError(f"Expected at least one worker, got {workers}.")
    if workers is not None or cluster is not None:
        _distributed()
    if config.mrb or config.screenshot:
        _scene_code()


def _jobs(data: Path, out: Path, config: FolderConfig, workers: int | None) -> list[Job]:
    """All cases; paths are whole, because a worker may run elsewhere."""
    identity = read_card(config.model or BUNDLED).identity
    config = replace(config, model=None if config.model is None else config.model.absolute())
    threads = None if workers is None else max(1, torch.get_num_threads() // workers)
    cases = [(case_id, place.absolute()) for case_id, place in list_cases(data)]
    return [Job(case_id, place, out.absolute(), config, identity, threads) for case_id, place in cases]


def _said(entry: Entry) -> str:
    if entry.status == FAILED:
        return f"{entry.case_id}: failed: {entry.message}"
    return f"{entry.case_id}: done in {entry.seconds:.1f} s, whole tumour {entry.columns['WT_ml']} ml"


# --- one case ---


def segment_case(job: Job) -> Entry:
    """Segment a case and put its files in place, all or none, unless another writer has; never raises an error."""
    start = time.perf_counter()
    try:
        return _found(job) or _segment(job, start)
    except Exception as error:
        logger.debug("Case %s", job.case_id, exc_info=True)
        is_sentence = isinstance(error, (ValueError, OSError, MemoryError, ImportError)) and str(error)
        message = str(error) if is_sentence else f"{type(error).__name__}: {error}"
        return Entry(job.case_id, FAILED, " ".join(message.split()), time.perf_counter() - start)


def _found(job: Job) -> Entry | None:
    """The case as its files tell it; None where one is missing, or they were made with another model or otherwise."""
    prediction = job.file(ENDINGS["prediction"])
    if not prediction.is_file():
        return None
    try:
        summary = read_summary(prediction)
        names = [prediction.name, *summary["files"].values(), *(job.file(each).name for each in job.config.endings)]
        columns = {
            **{f"{name}_ml": summary["volumes_ml"][name] for name in VOLUMES},
            "model": summary["model"]["name"],
            "identity": summary["model"]["identity"],
            "labels": summary["label_coding"]["convention"],
            "tta": "disagreement" in summary["uncertainty_channels"],
            "device": summary["device"],
            "files": " ".join(names),
        }
        seconds = sum(summary["timings_s"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # writing will say that these files are not ours
    asked = {"identity": job.identity, "labels": job.config.labels, "tta": job.config.predict.tta}
    if any(columns[name] != value for name, value in asked.items()):
        return None
    if not all((job.out / name).is_file() for name in names):
        return None
    return Entry(job.case_id, DONE, " ".join(summary["warnings"]), seconds, columns)


def _segment(job: Job, start: float) -> Entry:
    interrupted = _clear(job.out, {job.case_id})
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    model = _model(job.config.model, job.identity)
    case = read_case(job.place)
    read_s = round(time.perf_counter() - start, 4)
    overwrite = job.config.overwrite or interrupted
    output_files(job.case_id, job.out, overwrite=overwrite, inputs=case.files.values())
    prediction = predict(case, model, job.config.predict)
    prediction = replace(prediction, timings_s={"read": read_s, **prediction.timings_s})
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{job.case_id}.", dir=job.out))
    try:
        _write(job.config, case, prediction, temporary)
        return _found(job) or _put_in_place(job, temporary)  # another may have been faster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@functools.lru_cache(maxsize=1)
def _model(path: Path | None, identity: str) -> tuple[SegmentationNet, ModelCard]:
    """Loaded once in each process."""
    network, card = load_model(path)
    if card.identity != identity:
        raise ValueError(
            f"This worker's model {path or BUNDLED} is not the one that was asked for (SHA-256 differs); install the "
            "same version everywhere, or name one file that all can read (--model)."
        )
    return network, card


def _write(config: FolderConfig, case: Case, prediction: Prediction, folder: Path) -> None:
    write_prediction(prediction, folder, config.labels)
    if config.report:
        write_report(case, prediction, folder / f"{case.case_id}{REPORT_ENDING}")
    if config.mrb:
        _scene_code().writeScene(case, prediction, folder / f"{case.case_id}{SCENE_ENDING}")
    if config.screenshot:
        _scene_code().drawScene(case, prediction, folder / f"{case.case_id}{SCREENSHOT_ENDING}")


def _scene_code() -> Any:
    try:
        return importlib.import_module("ProtoSegBrainScene.savedscene")
    except ImportError as error:
        raise ImportError(
            f'Scenes and their pictures need the MRML of 3D Slicer ({error}): pip install "protosegbrain[slicer]"'
        ) from error


def _put_in_place(job: Job, temporary: Path) -> Entry:
    """Where ``_prediction.json`` lies, the rest is whole: it goes first and comes last."""
    last = job.file(ENDINGS["prediction"])
    for older in (last, *map(job.file, (ENDINGS["sim"], REPORT_ENDING, SCENE_ENDING, SCREENSHOT_ENDING))):
        older.unlink(missing_ok=True)
    for made in sorted(temporary.iterdir(), key=lambda made: made.name == last.name):
        os.replace(made, job.out / made.name)
    entry = _found(job)
    if entry is None:
        raise RuntimeError(f"The files of case {job.case_id} in {job.out} changed while they were put in place.")
    return entry


def _clear(out: Path, case_ids: Collection[str]) -> bool:
    """Remove what writers of these cases left when they were killed; whether there was any."""
    begun = [path for path in out.iterdir() if path.name.startswith(TEMPORARY)]
    left = [path for path in begun if path.name.removeprefix(TEMPORARY).rpartition(".")[0] in case_ids]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return bool(left)


# --- many processes ---


def _here(jobs: Sequence[Job]) -> Generator[Entry, None, None]:
    yield from map(segment_case, jobs)


def _on_workers(jobs: Sequence[Job], workers: int | None, cluster: str | None) -> Generator[Entry, None, None]:
    """Entries as they come; the case of a worker that dies is given to another, three times."""
    from distributed import as_completed

    if not jobs:
        return
    with _client(workers, cluster) as client:
        asked = {client.submit(segment_case, job, pure=False): job for job in jobs}
        for future in as_completed(asked):
            try:
                yield future.result()
            except Exception as error:  # the worker's, not the case's
                message = f"The workers failed ({type(error).__name__}): {' '.join(str(error).split())}"
                yield Entry(asked[future].case_id, FAILED, message, 0.0)


@contextlib.contextmanager
def _client(workers: int | None, cluster: str | None) -> Iterator[Client]:
    distributed = _distributed()
    if cluster is None:
        log = logging.getLogger("distributed")
        log.setLevel(logging.WARNING)
        # Memory is watched by the system: the limit that Dask derives from the number of cores says nothing here.
        limits: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": None, "dashboard_address": "127.0.0.1:0"}
        with distributed.LocalCluster(n_workers=workers, **limits) as local, distributed.Client(local) as client:
            yield client
            log.setLevel(logging.ERROR)  # processes with torch take long to leave, which is no news
        return
    try:
        client = distributed.Client(cluster)
    except (OSError, ValueError) as error:
        raise ValueError(f"No Dask scheduler answers at {cluster}: {error}") from error
    with client:
        yield client


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ImportError(f'Several workers need Dask ({error}): pip install "protosegbrain[cluster]"') from error


# --- the manifest ---


class _Manifest:
    """A CSV file with a row per case, always whole.

    Args:
        path: Of the file; rows of other cases in it stay.
        case_ids: Of this run; their rows are only what ``add`` says.
    """

    def __init__(self, path: Path, case_ids: Sequence[str]) -> None:
        self._path = path
        known = set(case_ids)
        self._rows = {case_id: row for case_id, row in _read_rows(path).items() if case_id not in known}

    def add(self, *entries: Entry) -> None:
        self._rows.update({entry.case_id: entry.row() for entry in entries})
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[case_id] for case_id in sorted(self._rows))
        write_whole(self._path, text.getvalue())


def _read_rows(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path} is not a manifest of this version of ProtoSegBrain; move it to another place.")
        return {row["case_id"]: row for row in reader}
