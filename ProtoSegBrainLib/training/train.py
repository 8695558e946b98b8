"""Train a network on a fold of labelled cases."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.network.networks import has_prototypes
from ProtoSegBrainLib.patches.cases import TrainingCase, prepare_data
from ProtoSegBrainLib.patches.healthy import healthy_brains
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.records import read_json, stored
from ProtoSegBrainLib.training.checkpoint import CHECKPOINT
from ProtoSegBrainLib.training.configuration import to_yaml
from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer
from ProtoSegBrainLib.training.recipe import TrainConfig
from ProtoSegBrainLib.training.trainer import Trainer


def train(
    config: TrainConfig,
    data: Path,
    splits: Path,
    fold: str,
    out: Path,
    *,
    resume: bool = False,
    on_progress: Progress | None = None,
    reading: Reading | None = None,
) -> dict[str, Any]:
    """Train one fold (or ``"all"``) and write configuration, model, card, log, curves and summary to ``out``.

    ``reading`` says what the files of the cases leave open.

    Raises:
        FileExistsError: ``out`` holds a run and ``resume`` is off.
        FileNotFoundError: Data or splits are not there, or there is nothing to resume.
        ValueError: The fold is not in the splits file, or a case cannot be read.
    """
    train_ids, held_out_ids = read_split(splits, fold)
    if (out / "log.jsonl").exists() and not resume:
        raise FileExistsError(f"{out} already holds a run; add --resume to go on with it or choose another folder.")
    if resume and not (out / CHECKPOINT).exists():
        raise FileNotFoundError(
            f"{out} holds no checkpoint to resume from; start in an empty folder, without --resume."
        )
    device = choose_device(config.device)
    cache = Path(config.cache) if config.cache else out / "prepared"
    cases = prepare_data(data, train_ids, cache, device, on_progress, reading=reading)
    held_out = prepare_data(data, held_out_ids, cache, "cpu", on_progress, reading=reading)
    kind = PrototypeTrainer if has_prototypes(config.model) else Trainer
    healthy: Sequence[TrainingCase] = ()
    if config.sampling.healthy_share:
        healthy = healthy_brains(cases, config.sampling.simulated_healthy, cache, device, on_progress)
    trainer = kind(config, cases, out, device, on_progress, held_out, healthy)
    if resume:
        trainer.load_checkpoint()
    elif trainer.processes.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "config.yaml", to_yaml(config))
    trainer.run()
    summary = trainer.finish({"data": data.name, "splits": splits.name, "fold": fold})
    trainer.processes.leave()
    return summary


def read_split(splits: Path, fold: str) -> tuple[list[str], list[str]]:
    """Training and held-out case ids of a fold; ``"all"`` trains on every case.

    Cases that the file lists under ``always`` are trained on in every fold.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not list folds, or not this one, or leaves no case to train on.
    """
    if not Path(splits).is_file():
        raise FileNotFoundError(f"There is no splits file {splits}.")
    try:
        content = stored(read_json(splits), dict[str, Any])
        folds = [list(members) for members in stored(content.get("folds"), tuple[tuple[str, ...], ...], "folds")]
        always = list(stored(content.get("always", []), tuple[str, ...], "always"))
    except ValueError as error:
        raise ValueError(f'{splits}: expected JSON of the form {{"folds": [[case ids], …]}}; {error}') from error
    repeated = sorted(case_id for case_id, count in Counter(itertools.chain(*folds, always)).items() if count > 1)
    if repeated:
        raise ValueError(f"{splits}: {repeated[0]} is named twice; a case belongs to one fold.")
    if fold == "all":
        return [*itertools.chain(*folds), *always], []
    if not fold.isdecimal() or int(fold) >= len(folds):
        raise ValueError(f"--fold: expected 0 to {len(folds) - 1} or all, as {splits} says; got {fold!r}.")
    rest = [*(c for index, members in enumerate(folds) if index != int(fold) for c in members), *always]
    if not rest:
        raise ValueError(f"{splits}: without fold {fold} there is no case left to train on.")
    return rest, folds[int(fold)]


def choose_device(name: str) -> str:
    """``auto`` takes the GPU (of this process) if there is one.

    Raises:
        ValueError: torch cannot compute on that device here.
    """
    if name != "auto":
        try:
            torch.empty(1, device=name)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"device: torch cannot use {name!r} on this machine ({reason}); try cpu.") from error
        return name
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
