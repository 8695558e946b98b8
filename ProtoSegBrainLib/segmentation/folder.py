"""Every case of a folder: segmented, written, listed in ``manifest.csv``; here, in several processes, or on a cluster.

A run that was interrupted goes on where it stopped: each case is a job of its own (job.py), done or to be done.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.images.naming import list_cases
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS
from ProtoSegBrainLib.network.weights import BUNDLED, read_card
from ProtoSegBrainLib.segmentation.job import Job, JobConfig, clear_away, found, scene_code, segment_case
from ProtoSegBrainLib.segmentation.manifest import FAILED, MANIFEST, Entry, Manifest

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)


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
    config: JobConfig | None = None,
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
    config = config or JobConfig()
    _check(config, workers, cluster)
    check_folder(out)
    jobs = _jobs(data, out, config, workers)
    out.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(out / MANIFEST, [job.case_id for job in jobs])
    entries = {job.case_id: entry for job in jobs if (entry := found(job))}
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
        clear_away(out, {job.case_id for job in todo})  # after workers that were ended
        unheard = [entry for job in todo if job.case_id not in entries and (entry := found(job))]
        manifest.add(*unheard)
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
    threads = None if workers is None else max(1, torch.get_num_threads() // workers)
    cases = [(case_id, place.absolute()) for case_id, place in list_cases(data)]
    return [Job(case_id, place, out.absolute(), config, identity, threads) for case_id, place in cases]


def _said(entry: Entry) -> str:
    if entry.status == FAILED:
        return f"{entry.case_id}: failed: {entry.message}"
    return f"{entry.case_id}: done in {entry.seconds:.1f} s, whole tumour {entry.columns['WT_ml']} ml"


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
