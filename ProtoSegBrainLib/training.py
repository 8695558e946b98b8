"""Three-phase training: ``warm_up`` -> ``joint`` -> ``projection``, one code path for CPU, GPU and several processes.

A run is a function of its configuration and seed: patch number i depends on the seed and i alone, so a killed run that
resumes follows the curve of one that was never killed. Start several processes with ``torchrun``; each then draws its
share of every batch.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ProtoSegBrainLib.augmentation import AugmentationConfig
from ProtoSegBrainLib.dataset import Batch, PatchSampler, SamplingConfig, TrainingCase, brain_label, prepare_data
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.logbook import Logbook, open_trackers
from ProtoSegBrainLib.losses import LossConfig, class_shares, prototype_losses, segmentation_losses
from ProtoSegBrainLib.metrics import dice
from ProtoSegBrainLib.model import PRESETS, ModelConfig, NetworkOutput, ProtoSegNet, log_similarity_at, with_reach
from ProtoSegBrainLib.portrait import portray
from ProtoSegBrainLib.prototypes import (
    gather_voxels,
    initialise_prototypes,
    predict_classes,
    project_prototypes,
    pure_label,
    refit_last_layer,
    reseed_prototypes,
    sample_pure_voxels,
)
from ProtoSegBrainLib.weights import ModelCard, describe_prototypes, load_model, round_as_stored, save_model

Progress = Callable[[float, str], None]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """All that a run is made of, besides its data."""

    model: ModelConfig = field(default_factory=lambda: PRESETS["default"])
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    steps: int = field(default=6000, metadata={"help": "optimiser steps; --minutes overrides it"})
    minutes: float = field(default=0.0, metadata={"help": "fit the whole run into this time; 0: count steps"})
    batch_size: int = field(default=2, metadata={"help": "patches per step and process"})
    accumulation: int = field(default=1, metadata={"help": "batches per optimiser step"})
    optimiser: str = field(default="adamw", metadata={"help": "adam, adamw or sgd"})
    learning_rate: float = field(default=2e-3, metadata={"help": "highest learning rate"})
    weight_decay: float = field(default=1e-2, metadata={"help": "weight decay"})
    schedule: str = field(default="cosine", metadata={"help": "cosine or plateau"})
    ramp_share: float = field(default=0.03, metadata={"help": "share of the run in which the learning rate rises"})
    warm_up_share: float = field(default=0.15, metadata={"help": "share of the run before the joint phase"})
    frozen_norm_share: float = field(
        default=0.3, metadata={"help": "last share of the run, in which BatchNorm keeps its running statistics"}
    )
    start_from: str = field(
        default="", metadata={"help": "model (.safetensors) to go on from; its prototypes stay, there is no warm-up"}
    )
    finish_share: float = field(default=0.1, metadata={"help": "share of --minutes kept for the projection phase"})
    clip_norm: float = field(default=5.0, metadata={"help": "largest norm of the gradient"})
    ema_decay: float = field(default=0.998, metadata={"help": "decay of the averaged weights"})
    reseed_at: tuple[float, ...] = field(
        default=(0.3, 0.5, 0.7),
        metadata={"help": "shares of the run at which prototypes that left the data are moved back"},
    )
    reseed_distance: float = field(
        default=0.1, metadata={"help": "squared distance from which a prototype has left them"}
    )
    prototype_voxels: int = field(default=400, metadata={"help": "label-pure voxels per class for prototype losses"})
    precision: str = field(default="auto", metadata={"help": "auto, float32, bfloat16 or float16"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or mps"})
    seed: int = field(default=0, metadata={"help": "seed of everything random"})
    checkpoint_minutes: float = field(default=3.0, metadata={"help": "time between checkpoints"})
    log_every: int = field(default=20, metadata={"help": "steps between log lines"})
    cache: str = field(default="", metadata={"help": "folder for prepared cases (default: prepared/ in --out)"})
    trackers: tuple[str, ...] = field(default=(), metadata={"help": "tensorboard, wandb"})
    name: str = field(default="", metadata={"help": "name on the model card"})

    def __post_init__(self) -> None:
        """Refuse early what would fail later, naming the field."""
        known = {"optimiser": OPTIMISERS, "schedule": ("cosine", "plateau"), "precision": ("auto", *PRECISIONS)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name}: expected one of {', '.join(values)}; got {getattr(self, name)!r}.")
        for name in ("steps", "batch_size", "accumulation", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1; got {getattr(self, name)}.")
        if self.minutes < 0:
            raise ValueError(f"minutes: expected 0 or more; got {self.minutes}.")
        patch_size, multiple = self.sampling.patch_size, self.model.level_strides[-1]
        if patch_size < 1 or patch_size % multiple:
            raise ValueError(f"patch_size: expected a multiple of {multiple}; got {patch_size}.")


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "sgd": lambda parameters, lr, weight_decay: torch.optim.SGD(
        parameters, lr, momentum=0.99, nesterov=True, weight_decay=weight_decay
    ),
}


def train(
    config: TrainConfig,
    data: Path,
    splits: Path,
    fold: str,
    out: Path,
    *,
    resume: bool = False,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Train one fold (or ``"all"``) and write model, card, log, curves and summary to ``out``.

    Raises:
        FileExistsError: ``out`` holds a run and ``resume`` is off.
        FileNotFoundError: Data or splits are not there, or there is nothing to resume.
        ValueError: The fold is not in the splits file.
    """
    train_ids, held_out_ids = read_split(splits, fold)
    if (out / "log.jsonl").exists() and not resume:
        raise FileExistsError(f"{out} already holds a run; add --resume to go on with it or choose another folder.")
    if resume and not (out / "checkpoint.json").exists():
        raise FileNotFoundError(
            f"{out} holds no checkpoint to resume from; start in an empty folder, without --resume."
        )
    device = choose_device(config.device)
    cache = Path(config.cache) if config.cache else out / "prepared"
    cases = prepare_data(data, train_ids, cache, device, on_progress)
    held_out = prepare_data(data, held_out_ids, cache, "cpu", on_progress)
    trainer = Trainer(config, cases, out, device, on_progress)
    if resume:
        trainer.load_checkpoint()
    trainer.run()
    summary = trainer.finish(held_out, {"data": data.name, "splits": splits.name, "fold": fold})
    if dist.is_initialized():
        dist.destroy_process_group()
    return summary


def read_split(splits: Path, fold: str) -> tuple[list[str], list[str]]:
    """Training and held-out case ids of a fold; ``"all"`` trains on every case.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not list folds, or not this one, or leaves no case to train on.
    """
    if not Path(splits).is_file():
        raise FileNotFoundError(f"There is no splits file {splits}.")
    try:
        folds = [[str(case_id) for case_id in members] for members in json.loads(Path(splits).read_text())["folds"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{splits}: expected JSON of the form {{"folds": [[case ids], …]}}; got {error!r}.') from error
    if fold == "all":
        return [case_id for members in folds for case_id in members], []
    if not fold.isdigit() or int(fold) >= len(folds):
        raise ValueError(f"--fold: expected 0 to {len(folds) - 1} or all, as {splits} says; got {fold!r}.")
    rest = [c for index, members in enumerate(folds) if index != int(fold) for c in members]
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


def first_network(config: TrainConfig) -> ProtoSegNet:
    """A random network, or the one that ``start_from`` names, with this run's reach.

    Raises:
        ValueError: That one was built otherwise than ``config.model`` says.
    """
    if not config.start_from:
        return ProtoSegNet(config.model)
    network, card = load_model(Path(config.start_from))
    if replace(card.model, reach=config.model.reach) != config.model:
        raise ValueError(f"--start-from {config.start_from}: that network is {card.model}, this run's {config.model}.")
    return with_reach(network, config.model.reach)


class Trainer:
    """The state of one run and the steps that change it."""

    def __init__(
        self,
        config: TrainConfig,
        cases: Sequence[TrainingCase],
        out: Path,
        device: str = "cpu",
        on_progress: Progress | None = None,
    ) -> None:
        self.config, self.cases, self.out, self.device = config, cases, out, device
        self.on_progress = on_progress
        self.rank, self.processes = _join_processes(device)
        torch.manual_seed(config.seed)
        self.network = _synchronised(first_network(config), self.processes, device).to(device)
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.forward: nn.Module = DistributedDataParallel(self.network) if self.processes > 1 else self.network
        self.optimiser = self._make_optimiser()
        self.scaler = torch.amp.GradScaler(device.split(":")[0], enabled=config.precision == "float16")
        self.sampler = PatchSampler(
            cases,
            config.sampling,
            config.augmentation,
            size_multiple=self.network.size_multiple,
            seed=config.seed,
        )
        self.logbook: Logbook | None = None
        self.step, self.elapsed_s, self.initialised, self.reseeded = 0, 0.0, bool(config.start_from), 0
        self.plateau = {"factor": 1.0, "best": float("inf"), "bad": 0.0, "mean": float("nan")}
        self._limit_reach()

    # -- the loop ------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """0 at the start, 1 when the joint phase ends."""
        if self.config.minutes:
            return min(1.0, self.elapsed_s / (60 * self.config.minutes * (1 - self.config.finish_share)))
        return self.step / self.config.steps

    @property
    def phase(self) -> str:
        """``warm_up`` or ``joint``; projection follows in ``finish``."""
        return "joint" if self.initialised else "warm_up"

    def run(self, until_step: int | None = None) -> None:
        """Warm-up and joint phase, to the end or to ``until_step``."""
        saved = time.monotonic()
        if self.rank == 0 and self.logbook is None:
            first_step = self.step + 1
            trackers = open_trackers(self.config.trackers, self.out, first_step)
            self.logbook = Logbook(self.out, trackers, resume_step=first_step)
        while self.progress < 1 and (until_step is None or self.step < until_step):
            started = time.monotonic()
            if not self.initialised and self.progress >= self.config.warm_up_share:
                self._initialise()
            if self.initialised and self.reseeded < sum(self.progress >= share for share in self.config.reseed_at):
                self._reseed()
            losses = self.train_step()
            self.elapsed_s += self._mean_over_processes([time.monotonic() - started])[0]
            if self.step % self.config.log_every == 0:
                self._log(losses)
            if time.monotonic() - saved > 60 * self.config.checkpoint_minutes:
                self.save_checkpoint()
                saved = time.monotonic()
        self.save_checkpoint()

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the weighted loss terms."""
        config = self.config
        self._training_mode()
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for part in range(config.accumulation):
            last = part == config.accumulation - 1
            # Gradients are exchanged once, with the last part.
            quiet = nullcontext() if last or self.processes == 1 else self.forward.no_sync()  # type: ignore[operator]
            with quiet:
                terms = self._losses(self.sampler.batch(self._patch_numbers(part)))
                self.scaler.scale(torch.stack(list(terms.values())).sum() / config.accumulation).backward()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach()) / config.accumulation
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.network.last_layer.constrain()
        self.step += 1
        self._update_ema()
        sums = dict(zip(sums, self._mean_over_processes(list(sums.values())), strict=True))
        self._update_plateau(sum(sums.values()))
        return sums

    def _mean_over_processes(self, values: list[float]) -> list[float]:
        """The same numbers in every process: rate, phase and end follow from losses and times and must not differ."""
        if self.processes == 1:
            return values
        tensor = torch.tensor(values, device=self.device)
        dist.all_reduce(tensor)
        return (tensor / self.processes).tolist()

    def _training_mode(self) -> None:
        """Training mode; near the end BatchNorm works as it will in inference, on statistics of many batches."""
        self.network.train()
        if self.progress >= 1 - self.config.frozen_norm_share:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _patch_numbers(self, part: int) -> list[int]:
        """This process's patches of this step; together the processes draw what one with a larger batch would."""
        config = self.config
        per_part = config.batch_size * self.processes
        first = (self.step * config.accumulation + part) * per_part + self.rank * config.batch_size
        return list(range(first, first + config.batch_size))

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.images.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.split(":")[0], self._precision(), enabled=self._precision() != torch.float32):
            output: NetworkOutput = self.forward(images)
        truth = class_shares(batch.label, self.network.prototype_stride)
        terms = segmentation_losses(self.config.loss, output.logits, truth)
        if self.phase == "joint":
            terms |= self._prototype_losses(output, brain_label(batch.images, batch.label))
        return terms

    def _prototype_losses(self, output: NetworkOutput, label: Tensor) -> dict[str, Tensor]:
        """Per case, then averaged, so that the share of a process does not depend on what the others drew."""
        pure = pure_label(label, self.network.prototype_stride, self.config.model.prototype_size)
        identity = self.network.last_layer.prototype_class_identity
        sums: dict[str, Tensor] = {}
        for index in range(len(label)):
            generator = torch.Generator().manual_seed(self.config.seed + 7919 * self.step)
            flat = sample_pure_voxels(pure[index], self.config.prototype_voxels, generator)
            distances = gather_voxels(output.distances[index], flat)
            similarities = gather_voxels(output.similarities[index], flat)
            classes = pure[index].flatten()[flat]
            terms = prototype_losses(
                self.config.loss, distances, similarities, classes, identity, self.network.last_layer.weight
            )
            sums = {name: sums.get(name, 0) + term / len(label) for name, term in terms.items()}
        return sums

    def _precision(self) -> torch.dtype:
        if self.config.precision != "auto":
            return PRECISIONS[self.config.precision]
        if self.device.startswith("cuda"):
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        return torch.bfloat16 if self.device == "cpu" and _cpu_has_bfloat16() else torch.float32

    # -- learning rate, averaged weights ---------------------------------------------------------------------------

    def _make_optimiser(self) -> torch.optim.Optimizer:
        """Weight decay for kernels only: decayed prototypes, biases and norms would lose their meaning."""
        kernels = [p for n, p in self.network.named_parameters() if p.ndim == 5 and "prototype" not in n]
        others = [p for n, p in self.network.named_parameters() if p.ndim != 5 or "prototype" in n]
        groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
        return OPTIMISERS[self.config.optimiser](
            groups, lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )

    def _learning_rate(self) -> float:
        config, progress = self.config, self.progress
        ramp = min(1.0, (progress + 1e-3) / config.ramp_share) if config.ramp_share else 1.0
        if config.schedule == "plateau":
            return config.learning_rate * ramp * self.plateau["factor"]
        return config.learning_rate * ramp * (0.5 + 0.5 * float(np.cos(np.pi * progress)))

    def _update_plateau(self, loss: float, patience: int = 300) -> None:
        """Halve the rate when the running mean of the loss has not fallen for ``patience`` steps."""
        state = self.plateau
        state["mean"] = loss if np.isnan(state["mean"]) else 0.99 * state["mean"] + 0.01 * loss
        if state["mean"] < state["best"] * 0.999:
            state["best"], state["bad"] = state["mean"], 0
        else:
            state["bad"] += 1
        if state["bad"] >= patience:
            state["factor"], state["bad"] = state["factor"] / 2, 0

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        averaged, live = list(self.ema.state_dict().values()), list(self.network.state_dict().values())
        floats = [index for index, value in enumerate(live) if value.is_floating_point()]
        torch._foreach_lerp_([averaged[i] for i in floats], [live[i] for i in floats], 1 - decay)

    # -- phases ------------------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        """End of the warm-up: prototypes become k-means centres of what the network has learned to see."""
        initialise_prototypes(self.network, self._plain_batches(), self.config.seed)
        self._share_prototypes()
        self.ema.load_state_dict(self.network.state_dict())
        self.initialised = True
        self._limit_reach()

    def _limit_reach(self) -> None:
        """In the warm-up similarities reach everywhere: random prototypes are near to nothing and would not learn."""
        reach = self.config.model.reach if self.initialised else None
        for network in (self.network, self.ema):
            network.prototype_layer.zero = log_similarity_at(reach, self.config.model.epsilon)

    def _reseed(self) -> None:
        """Prototypes that left the data go back to them, in the live and in the averaged network."""
        self.reseeded = sum(self.progress >= share for share in self.config.reseed_at)
        seed = self.config.seed + self.reseeded
        moved = reseed_prototypes(self.network, self._plain_batches(), self.config.reseed_distance, seed)
        self._share_prototypes()
        with torch.no_grad():
            self.ema.prototype_layer.prototype_vectors[moved] = self.network.prototype_layer.prototype_vectors[moved]
            self.ema.last_layer.weight[:, moved] = self.network.last_layer.weight[:, moved]
        logger.info("step %d: prototypes %s had left the data and were moved back", self.step, moved)

    def _plain_batches(self) -> Iterator[Batch]:
        """Patches of the training cases without augmentation, two of each case."""
        sampler = PatchSampler(
            self.cases,
            self.config.sampling,
            _no_augmentation(),
            size_multiple=self.network.size_multiple,
            seed=self.config.seed + 1,
        )
        for number in range(max(16, 2 * len(self.cases))):
            yield sampler.batch([number])

    def _share_prototypes(self) -> None:
        """Process 0's prototypes for all: running statistics, and so embeddings, differ a little between processes."""
        if self.processes == 1:
            return
        with torch.no_grad():
            for tensor in (self.network.prototype_layer.prototype_vectors, self.network.last_layer.weight):
                shared = tensor.detach().contiguous()
                dist.broadcast(shared, 0)
                tensor.copy_(shared)

    def finish(self, held_out: Sequence[TrainingCase], data: dict[str, str]) -> dict[str, Any]:
        """Projection phase: project, re-fit the last layer, portray, write the model; returns the summary.

        One process does it; in the others this returns an empty summary at once.

        Args:
            held_out: Cases on which Dice is reported; without any, the first training cases.
            data: What the model card says of the data; ``fold`` names the model.

        Raises:
            ValueError: No case has a label-pure patch of a class that has prototypes.
        """
        if self.rank:
            return {}
        network = self.ema.eval()
        round_as_stored(network)
        monitored = held_out or self.cases[:5]
        summary: dict[str, Any] = {"monitored": "held out" if held_out else "training cases", "n": len(monitored)}
        summary["dice_before_projection"] = mean_dice(network, monitored)
        prototypes = project_prototypes(network, self.cases, self.on_progress)
        summary["dice_after_projection"] = mean_dice(network, monitored)
        losses = refit_last_layer(network, self.cases, on_progress=self.on_progress)
        summary["dice_after_refit"] = mean_dice(network, monitored)
        summary |= {"steps": self.step, "minutes": round(self.elapsed_s / 60, 2), "refit_loss": losses[-1]}
        training = data | {
            "date": date.today().isoformat(),
            "cases": [case.case_id for case in self.cases],
            "citation": "BraTS: Menze 2015, Bakas 2017, Bakas 2018, Baid 2021",
            "config": self._recorded_config(),
        }
        name = self.config.name or f"protosegbrain-fold-{data['fold']}"
        card = ModelCard(name, self.config.model, prototypes, training=training, metrics=summary)
        save_model(self.out / "model.safetensors", network, card)
        _write_json(self.out / "summary.json", summary)
        portraits = portray(network, self.cases, prototypes, self.on_progress)
        describe_prototypes(self.out / "model.safetensors", portraits)
        self._close_logbook()
        return summary

    def _recorded_config(self) -> dict[str, Any]:
        """The configuration for the card, without the places of this machine."""
        start = Path(self.config.start_from)
        started = f"{start.parent.name}/{start.name}" if self.config.start_from else ""
        recorded: dict[str, Any] = json.loads(json.dumps(asdict(replace(self.config, cache="", start_from=started))))
        return recorded

    # -- files -------------------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Write network, averaged network, optimiser and counters; safetensors and JSON, replaced atomically."""
        if self.rank:
            return
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items() if v is not None}
        self.out.mkdir(parents=True, exist_ok=True)
        # The number in the name ties the two files: the JSON, written last, names the tensors that belong to it.
        name = f"checkpoint-{self.step}.safetensors"
        safetensors.torch.save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, self.out / name)
        state = {
            "tensors": name,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "initialised": self.initialised,
            "reseeded": self.reseeded,
            "plateau": self.plateau,
            "scaler": self.scaler.state_dict(),
        }
        _write_json(self.out / "checkpoint.json", state)
        for old in self.out.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink()

    def load_checkpoint(self) -> None:
        """Go back to the last checkpoint in ``out``."""
        state = json.loads((self.out / "checkpoint.json").read_text())
        tensors = safetensors.torch.load_file(self.out / state["tensors"])
        for prefix, module in (("network.", self.network), ("ema.", self.ema)):
            values = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            try:
                module.load_state_dict(values)
            except RuntimeError as error:
                raise ValueError(
                    f"{self.out}: the run there trains another network; give --resume the flags it was started with."
                ) from error
        optimiser = self.optimiser.state_dict()
        optimiser["state"] = {}
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".")
                optimiser["state"].setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(optimiser)
        # Files hold tensors in C order. A fused optimiser walks through memory, so its state must lie as its weights.
        for parameter, entries in self.optimiser.state.items():
            for name, value in entries.items():
                if value.shape == parameter.shape:
                    entries[name] = torch.empty_like(parameter).copy_(value)
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.elapsed_s, self.initialised = state["step"], state["elapsed_s"], state["initialised"]
        self.plateau, self.reseeded = state["plateau"], state.get("reseeded", 0)
        self._limit_reach()

    def _log(self, losses: dict[str, float]) -> None:
        total = sum(losses.values())
        if not np.isfinite(total):
            raise FloatingPointError(f"The loss is {total} at step {self.step}: {losses}; lower the rate.")
        if self.logbook:
            curves = {f"loss/{name}": value for name, value in losses.items()}
            clock = {"learning_rate": self._learning_rate(), "minutes": self.elapsed_s / 60}
            self.logbook.log(self.step, {"loss/total": total} | curves | clock)
        if self.on_progress:
            self.on_progress(self.progress, f"{self.phase} step {self.step} loss {total:.3f}")

    def _close_logbook(self) -> None:
        if self.logbook:
            self.logbook.plot()
            self.logbook.close()


def mean_dice(network: ProtoSegNet, cases: Sequence[TrainingCase]) -> dict[str, float]:
    """Mean Dice of WT, TC and ET over prepared cases; both empty counts 1."""
    scores: dict[str, list[float]] = {region: [] for region in REGIONS}
    for case in cases:
        predicted, truth = predict_classes(network, case), case.label.cpu().numpy()
        for region, classes in REGIONS.items():
            scores[region].append(dice(np.isin(predicted, classes), np.isin(truth, classes)))
    return {region: round(float(np.mean(values)), 4) for region, values in scores.items()}


def _no_augmentation() -> AugmentationConfig:
    return AugmentationConfig(**dict.fromkeys(AugmentationConfig.__dataclass_fields__, 0.0))


def _join_processes(device: str) -> tuple[int, int]:
    """Rank and number of processes; joins the group that torchrun describes in the environment."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return dist.get_rank(), dist.get_world_size()


def _synchronised(network: ProtoSegNet, processes: int, device: str) -> ProtoSegNet:
    """On several GPUs BatchNorm takes its statistics over all of them."""
    if processes > 1 and device.startswith("cuda"):
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return network


def _cpu_has_bfloat16() -> bool:
    """True where the processor multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1))
