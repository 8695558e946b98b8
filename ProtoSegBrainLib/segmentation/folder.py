"""Every case of a folder: segmented, written, listed in ``manifest.csv``; here, in several processes, or on a cluster.

A run that was interrupted goes on where it stopped: each case is a job of its own (job.py), done or to be done. Several
runs into one folder share the work: a case at which another is at work is left to it, and looked at again at the end.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.images.naming import CaseFiles
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS
from ProtoSegBrainLib.network.weights import BUNDLED, read_card
from ProtoSegBrainLib.preparation.study import StudyPlace, list_places
from ProtoSegBrainLib.result.writer import check_apart, clear_left
from ProtoSegBrainLib.segmentation.job import Job, JobConfig, found, scene_code, segment_case
from ProtoSegBrainLib.segmentation.manifest import BUSY, FAILED, MANIFEST, UNLIKE, Entry, Manifest

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

POLLING_S = 0.5


@dataclass(frozen=True)
class Summary:
    """How a run went: all its cases, and how many of them were done before."""

    entries: tuple[Entry, ...]
    n_before: int

    @property
    def failed(self) -> dict[str, str]:
        """Why, by case."""
        return {entry.case_id: entry.message for entry in self.entries if entry.status == FAILED}

    @property
    def n_failed(self) -> int:
        """How many; more than there are names where several cases have one."""
        return sum(entry.status == FAILED for entry in self.entries)

    @property
    def unlike(self) -> list[str]:
        """Cases that are unlike the training data, so that their results are probably poor."""
        return [entry.case_id for entry in self.entries if is_unlike(entry)]


def segment_folder(
    data: Path,
    out: Path,
    config: JobConfig | None = None,
    *,
    workers: int | None = None,
    cluster: str | None = None,
) -> Summary:
    """Segment all cases of a data folder that are not done yet; a case that fails does not stop the rest.

    Args:
        data: What ``list_cases`` takes, or a folder of DICOM.
        out: Folder for the files of all cases and the manifest, which is rewritten after each case.
        config: What to make of each.
        workers: Compute in as many processes of this machine; None: in this one.
        cluster: Address of a Dask scheduler, instead. Its workers must see both folders and the model under the same
            paths; one thread each serves best.

    Raises:
        FileNotFoundError: No case, or no model.
        FileExistsError: ``out`` is a file, or a folder of the images.
        ValueError: An unknown label coding; no such number of workers; no scheduler at the address; a manifest that is
            not ours.
        ImportError: A package is missing for ``workers``, ``cluster``, or the scenes.
    """
    config = config or JobConfig()
    _check(config, workers, cluster)
    check_folder(out)
    jobs = _jobs(data, out, config, workers)
    manifest = Manifest(out / MANIFEST)
    out.mkdir(parents=True, exist_ok=True)
    clear_left(out)
    entries = {job.case_id: entry for job in jobs if (entry := found(job))}
    manifest.add(*entries.values(), forget={job.case_id for job in jobs})
    todo = [job for job in jobs if job.case_id not in entries]
    n_before = len(entries)
    logger.info("Cases: %d, done before: %d.", len(jobs), n_before)
    try:
        with _runner(todo, workers, cluster) as run, contextlib.closing(_all(todo, run)) as results:
            for entry in results:
                entries[entry.case_id] = entry
                manifest.add(entry)
                logger.info("[%d/%d] %s", len(entries), len(jobs), _said(entry))
    finally:
        clear_left(out)  # after workers that were ended
        unheard = [job for job in todo if job.case_id not in entries or entries[job.case_id].status == FAILED]
        entries |= {job.case_id: entry for job in unheard if (entry := found(job))}
        manifest.add(*entries.values())
    return Summary(tuple(entries[job.case_id] for job in jobs), n_before)


def _check(config: JobConfig, workers: int | None, cluster: str | None) -> None:
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
        scene_code()


def _jobs(data: Path, out: Path, config: JobConfig, workers: int | None) -> list[Job]:
    """All cases; paths are whole, because a worker may run elsewhere."""
    identity = read_card(config.model or BUNDLED).identity
    config = replace(config, model=None if config.model is None else config.model.absolute())
    mask, reference = config.preparation.brain_mask, config.native.dicom
    if mask is not None or reference is not None:
        raise ValueError("One brain mask, or one series for DICOM, does not fit many cases; segment them one by one.")
    threads = None if workers is None else max(1, torch.get_num_threads() // workers)
    cases = _apart(list_places(data.absolute(), config.choice), data, out)
    return [Job(case.case_id, case, out.absolute(), config, identity, threads) for case in cases]


def _apart(cases: Sequence[CaseFiles | StudyPlace], data: Path, out: Path) -> list[CaseFiles | StudyPlace]:
    """The cases without what lies in the output folder, which may be a new one in the data folder.

    Raises:
        FileExistsError: The output folder is a folder of images, or lies in one other than the data folder.
    """
    homes = [case.place if case.place.is_dir() else case.place.parent for case in cases]
    for home in {
        home.resolve() for home, case in zip(homes, cases, strict=True) if isinstance(case, CaseFiles) and case.images
    } | {data.resolve()}:
        if home != data.resolve() or home == out.resolve():
            check_apart(out, home)
    results = out.resolve()
    outside = [results != home.resolve() and results not in home.resolve().parents for home in homes]
    return [case for case, is_outside in zip(cases, outside, strict=True) if is_outside]


def is_unlike(entry: Entry) -> bool:
    return entry.columns.get(UNLIKE) == "yes"


def _said(entry: Entry) -> str:
    if entry.status == FAILED:
        return f"{entry.case_id}: failed: {entry.message}"
    doubt = ", probably poor: unlike the training data" if is_unlike(entry) else ""
    return f"{entry.case_id}: done in {entry.seconds:.1f} s, whole tumour {entry.columns['WT_ml']} ml{doubt}"


# --- many processes ---

Runner = Callable[[Sequence[Job]], Iterator[Entry]]


def _all(jobs: Sequence[Job], run: Runner) -> Generator[Entry, None, None]:
    """Entries as they come; of cases at which another run is at work when it has done them, or is gone."""
    told: set[str] = set()
    while jobs:
        busy: set[str] = set()
        for entry in run(jobs):
            if entry.status == BUSY:
                busy.add(entry.case_id)
            else:
                yield entry
        if busy - told:
            logger.info("Another run is at work on %s; waiting for it.", ", ".join(sorted(busy - told)))
            told |= busy
        if len(busy) == len(jobs):
            time.sleep(POLLING_S)
        jobs = [job for job in jobs if job.case_id in busy]


@contextlib.contextmanager
def _runner(jobs: Sequence[Job], workers: int | None, cluster: str | None) -> Iterator[Runner]:
    """What segments cases: this process, or others, which live as long as the block."""
    if not jobs or (workers is None and cluster is None):
        yield lambda jobs: map(segment_case, jobs)
        return
    with _client(workers, cluster) as client:
        yield lambda jobs: _on_workers(client, jobs)


def _on_workers(client: Client, jobs: Sequence[Job]) -> Iterator[Entry]:
    """Entries as they come; the case of a worker that dies is given to another, three times."""
    from distributed import as_completed

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
