"""The training loop: one for every network and for CPU, GPU and several processes.

A run is a function of its configuration and seed: patch number i depends on the seed and i alone, so a killed run that
resumes follows the curve of one that was never killed. Start several processes with ``torchrun``; each then draws its
share of every batch.
"""

from __future__ import annotations

import copy
import json
import os
import sys
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

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.network.inference import half_precision_of, run_network
from ProtoSegBrainLib.network.model import ModelConfig, NetworkOutput, SegmentationNet, upsample
from ProtoSegBrainLib.network.networks import NetworkConfig, build_network, size_multiple_of
from ProtoSegBrainLib.network.weights import ModelCard, load_model, round_as_stored, save_model
from ProtoSegBrainLib.patches.augmentation import AugmentationConfig
from ProtoSegBrainLib.patches.dataset import Batch, PatchSampler, SamplingConfig, TrainingCase, class_shares
from ProtoSegBrainLib.pictures.case_sheets import compared, slice_table
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.training.logbook import Logbook, open_trackers
from ProtoSegBrainLib.training.losses import LossConfig, segmentation_losses
from ProtoSegBrainLib.training.muon import Muon


@dataclass(frozen=True)
class TrainConfig:
    """All that a run is made of, besides its data."""

    model: NetworkConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    steps: int = field(default=6000, metadata={"help": "optimiser steps; --minutes overrides it"})
    minutes: float = field(default=0.0, metadata={"help": "fit the whole run into this time; 0: count steps"})
    batch_size: int = field(default=2, metadata={"help": "patches per step and process"})
    accumulation: int = field(default=1, metadata={"help": "batches per optimiser step"})
    optimiser: str = field(default="muon", metadata={"help": "adam, adamw, muon or sgd"})
    learning_rate: float = field(default=2e-3, metadata={"help": "highest learning rate"})
    weight_decay: float = field(default=1e-2, metadata={"help": "weight decay"})
    schedule: str = field(default="cosine", metadata={"help": "cosine or plateau"})
    ramp_share: float = field(default=0.03, metadata={"help": "share of the run in which the learning rate rises"})
    warm_up_share: float = field(default=0.6, metadata={"help": "share of the run before the joint phase"})
    frozen_norm_share: float = field(
        default=0.3, metadata={"help": "last share of the run, in which BatchNorm keeps its running statistics"}
    )
    start_from: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "model (.safetensors) to go on from, its prototypes stay, there is no warm-up; of several the mean"
        },
    )
    finish_share: float = field(default=0.1, metadata={"help": "share of --minutes kept for the projection phase"})
    clip_norm: float = field(default=5.0, metadata={"help": "largest norm of the gradient"})
    ema_decay: float = field(default=0.998, metadata={"help": "decay of the averaged weights"})
    prototype_rate: float = field(
        default=0.1, metadata={"help": "joint phase: learning rate of the prototypes as a share of the network's"}
    )
    reseed_at: tuple[float, ...] = field(
        default=(),
        metadata={"help": "shares of the run at which prototypes that left the data are moved back (README: training)"},
    )
    reseed_distance: float = field(
        default=0.1, metadata={"help": "squared distance from which a prototype has left them"}
    )
    portraits: bool = field(
        default=True, metadata={"help": "measure at the end what each prototype stands for (minutes on a CPU)"}
    )
    prototype_voxels: int = field(default=400, metadata={"help": "label-pure voxels per class for prototype losses"})
    precision: str = field(default="auto", metadata={"help": "auto, float32, bfloat16 or float16"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or mps"})
    seed: int = field(default=0, metadata={"help": "seed of everything random"})
    checkpoint_minutes: float = field(default=3.0, metadata={"help": "time between checkpoints"})
    scored_cases: int = field(default=10, metadata={"help": "most cases on which Dice is reported at the end"})
    log_every: int = field(default=20, metadata={"help": "steps between log lines"})
    validations: int = field(
        default=10, metadata={"help": "how often loss and Dice on fixed patches are logged in a run; 0: never"}
    )
    validation_patches: int = field(default=4, metadata={"help": "how many patches, of held-out and of training cases"})
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
            least = 0 if name == "steps" and self.start_from else 1  # a mean of models can be concluded as it is
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}; got {getattr(self, name)}.")
        if self.minutes < 0:
            raise ValueError(f"minutes: expected 0 or more; got {self.minutes}.")
        patch_size, multiple = self.sampling.patch_size, size_multiple_of(self.model)
        if patch_size < 1 or patch_size % multiple:
            raise ValueError(f"patch_size: expected a multiple of {multiple}; got {patch_size}.")


# Where a processor has AVX512-BF16 but no AMX, oneDNN (torch 2.13) leaves uninitialised memory, NaN at times, in the
# gradient of a 3x3x3 kernel on a grid of 2x2x2.
TOO_SMALL_A_GRID = 2
STATISTICS_BATCHES = 40
"""From which a mean of networks takes its BatchNorm statistics."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "muon": Muon,
    "sgd": lambda parameters, lr, weight_decay: torch.optim.SGD(
        parameters, lr, momentum=0.99, nesterov=True, weight_decay=weight_decay
    ),
}


def first_network(config: TrainConfig) -> SegmentationNet:
    """A random network, or the one that ``start_from`` names; of several the mean of their weights.

    The mean of networks that went on from one another is often surer of unfamiliar scans than the last of them
    (Wortsman et al., ICML 2022 and CVPR 2022); that of networks without a common past is of no use. A run takes its
    BatchNorm statistics anew.

    Raises:
        ValueError: One was built otherwise than ``config.model`` says.
    """
    if not config.start_from:
        return build_network(config.model)
    networks = [_load_alike(place, config.model) for place in config.start_from]
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    networks[0].load_state_dict(mean)
    return networks[0]


def _load_alike(place: str, model: NetworkConfig) -> SegmentationNet:
    network, card = load_model(Path(place))
    if _but_for_reach(card.model) != _but_for_reach(model):
        raise ValueError(f"--start-from {place}: that network is {card.model}, this run's {model}.")
    return network


def _but_for_reach(config: NetworkConfig) -> NetworkConfig:
    """Networks that differ in their reach alone can be changed into one another."""
    return replace(config, reach=None) if isinstance(config, ModelConfig) else config


def _batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


class Trainer:
    """The state of one run and the steps that change it.

    The methods that do next to nothing here, from ``_begin`` to ``_restore_phase``, are where a kind of network adds
    what is its own.
    """

    finish_share = 0.0
    """Share of ``--minutes`` that is kept for what comes after the last step."""

    def __init__(
        self,
        config: TrainConfig,
        cases: Sequence[TrainingCase],
        out: Path,
        device: str = "cpu",
        on_progress: Progress | None = None,
        held_out: Sequence[TrainingCase] = (),
    ) -> None:
        self.config, self.cases, self.held_out, self.out, self.device = config, cases, held_out, out, device
        self.on_progress = on_progress
        self.rank, self.processes = _join_processes(device)
        torch.set_flush_denormal(True)  # second moments fade into numbers that a processor computes with very slowly
        torch.manual_seed(config.seed)
        self.network = _synchronised(self._first_network(), self.processes, device).to(device)
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
        self.step, self.elapsed_s, self.validated, self.gradient_norm = 0, 0.0, 0, float("nan")
        self.plateau = {"factor": 1.0, "best": float("inf"), "bad": 0.0, "mean": float("nan")}
        self._begin()

    def _begin(self) -> None:
        """What a new run has beyond this."""

    def _first_network(self) -> SegmentationNet:
        return first_network(self.config)

    # -- the loop ------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """0 at the start, 1 after the last step."""
        if self.config.minutes:
            return min(1.0, self.elapsed_s / (60 * self.config.minutes * (1 - self.finish_share)))
        return self.step / self.config.steps if self.config.steps else 1.0

    @property
    def phase(self) -> str:
        """What the run is doing, for a person."""
        return "training"

    def run(self, until_step: int | None = None) -> None:
        """All steps, to the end or to ``until_step``."""
        saved = time.monotonic()
        if self.rank == 0 and self.logbook is None:
            first_step = self.step + 1
            trackers = open_trackers(self.config.trackers, self.out, first_step)
            self.logbook = Logbook(self.out, trackers, resume_step=first_step)
        if self.step == 0 and len(self.config.start_from) > 1:
            self._take_statistics_anew()
        while self.progress < 1 and (until_step is None or self.step < until_step):
            started = time.monotonic()
            # Patches are all of one size: worth a search for the fastest convolutions, once.
            with torch.backends.cudnn.flags(enabled=True, benchmark=True):
                self._prepare_step()
                losses = self.train_step()
                self._validate_when_due()
            self.elapsed_s += self._mean_over_processes([time.monotonic() - started])[0]
            if self.step % self.config.log_every == 0:
                self._log(losses)
            if time.monotonic() - saved > 60 * self.config.checkpoint_minutes:
                self.save_checkpoint()
                saved = time.monotonic()
        self._validate_when_due()
        self.save_checkpoint()

    @torch.no_grad()
    def _take_statistics_anew(self) -> None:
        """BatchNorm of a mean of networks: the mean of their statistics is not its own (Izmailov et al., UAI 2018)."""
        norms = _batch_norms(self.network)
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
        self.network.train()
        for number in range(STATISTICS_BATCHES if norms else 0):
            if self.on_progress:
                self.on_progress(number / STATISTICS_BATCHES, "Statistics of the mean")
            self._answer(self.sampler.batch(self._patch_numbers(number)))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.ema.load_state_dict(self.network.state_dict())

    def _prepare_step(self) -> None:
        """What must be done between two steps."""

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the weighted loss terms."""
        config = self.config
        torch.manual_seed(config.seed + 7919 * self.step + self.rank)  # a resumed run drops what it would have
        self._training_mode()
        self._set_learning_rates()
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for part in range(config.accumulation):
            last = part == config.accumulation - 1
            # Gradients are exchanged once, with the last part.
            quiet = nullcontext() if last or self.processes == 1 else self.forward.no_sync()  # type: ignore[operator]
            with quiet:
                terms = self._losses(self.sampler.batch(self._patch_numbers(part)))
                values = torch.stack(list(terms.values()))
                self.scaler.scale(values.sum() / config.accumulation).backward()
            for name, value in zip(terms, values.tolist(), strict=True):  # one wait for the GPU, not one a term
                sums[name] = sums.get(name, 0.0) + value / config.accumulation
        self.scaler.unscale_(self.optimiser)
        self.gradient_norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self._constrain()
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
            for norm in _batch_norms(self.network):
                norm.eval()

    def _patch_numbers(self, part: int) -> list[int]:
        """This process's patches of this step; together the processes draw what one with a larger batch would."""
        config = self.config
        per_part = config.batch_size * self.processes
        first = (self.step * config.accumulation + part) * per_part + self.rank * config.batch_size
        return list(range(first, first + config.batch_size))

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss terms of a batch, by name."""
        output, truth = self._answer(batch)
        return self._segmentation_losses(output, truth)

    def _answer(self, batch: Batch) -> tuple[NetworkOutput, Tensor]:
        """What the network says of a batch, and the truth on the grid of the images."""
        images = batch.images.contiguous(memory_format=torch.channels_last_3d)
        with self._half_precision():
            output: NetworkOutput = self.forward(images)
        return output, self.network.teachable(class_shares(batch.label, 1))

    def _segmentation_losses(self, output: NetworkOutput, truth: Tensor) -> dict[str, Tensor]:
        """With deep supervision the weighted mean over the levels, so that the sum stays what it is without.

        Logits are upsampled first. Taught the shares of the classes in the voxels of its own grid, a network names each
        after its largest share and loses what is thinner: the rims of ET.
        """
        levels = (output.logits, *output.deep)
        weights = (1.0, *self.config.loss.deep_supervision)[: len(levels)]
        sums: dict[str, Tensor] = {}
        for weight, logits in zip(weights, levels, strict=True):
            fine = upsample(logits, truth.shape[2:])
            for name, term in segmentation_losses(self.config.loss, fine, truth).items():
                sums[name] = sums.get(name, 0) + term * (weight / sum(weights))
        return sums

    def _constrain(self) -> None:
        """Put weights back into their allowed set."""

    def _half_precision(self) -> torch.autocast:
        """A context in which convolutions are computed as this run's configuration says."""
        precision = self._precision()
        return torch.autocast(self.device.split(":")[0], precision, enabled=precision != torch.float32)

    def _precision(self) -> torch.dtype:
        if self.config.precision != "auto":
            return PRECISIONS[self.config.precision]
        coarsest = self.config.sampling.patch_size // self.network.size_multiple
        if self.device == "cpu" and coarsest <= TOO_SMALL_A_GRID:
            return torch.float32
        native = half_precision_of(torch.device(self.device))
        return native if native == torch.bfloat16 else torch.float32  # float16 would need its loss scaled

    # -- validation ----------------------------------------------------------------------------------------------

    def _validate_when_due(self) -> None:
        """Loss and Dice of the averaged network on fixed patches without augmentation, now and then."""
        due = int(self.progress * self.config.validations)
        if due <= self.validated:
            return
        self.validated = due
        if self.logbook:
            groups = {"training": self.cases, "held_out": self.held_out}
            scores = {name: self.validate(cases) for name, cases in groups.items() if cases}
            values = {f"{group}/{name}": value for group, of in scores.items() for name, value in of.items()}
            self.logbook.log(self.step, values)

    @torch.no_grad()
    def validate(self, cases: Sequence[TrainingCase]) -> dict[str, float]:
        """Mean loss, and Dice of WT, TC and ET with all patches taken together (both empty: 1)."""
        network = self.ema.eval()
        losses, predicted, true = [], [], []
        for batch in self._plain_batches(cases, self.config.validation_patches, self.config.seed + 2):
            batch = Batch(*(part.to(self.device) for part in batch))  # held-out cases stay in the computer's memory
            with self._half_precision():
                logits = upsample(network(batch.images).logits, batch.label.shape[1:])
            truth = network.teachable(class_shares(batch.label, 1))
            losses.append(float(sum(segmentation_losses(self.config.loss, logits, truth).values())))
            predicted.append(logits.argmax(dim=1).cpu().numpy())
            true.append(truth.argmax(dim=1).cpu().numpy())
        found, there = np.stack(predicted), np.stack(true)
        scores = {f"dice_{name}": dice(np.isin(found, k), np.isin(there, k)) for name, k in REGIONS.items()}
        return {"loss": float(np.mean(losses)), **scores}

    def _plain_batches(self, cases: Sequence[TrainingCase], count: int, seed: int) -> Iterator[Batch]:
        """Patches of cases without augmentation, one at a time."""
        sampler = PatchSampler(
            cases,
            self.config.sampling,
            _no_augmentation(),
            size_multiple=self.network.size_multiple,
            seed=seed,
        )
        for number in range(count):
            yield sampler.batch([number])

    # -- learning rate, averaged weights ---------------------------------------------------------------------------

    def _make_optimiser(self) -> torch.optim.Optimizer:
        """Weight decay for kernels only: decayed prototypes, biases and norms would lose their meaning."""
        named = list(self.network.named_parameters())
        prototypes = [p for n, p in named if "prototype" in n]
        kernels = [p for n, p in named if p.ndim == 5 and "prototype" not in n]
        others = [p for n, p in named if p.ndim != 5 and "prototype" not in n]
        groups = [
            {"params": kernels, "of": "kernels"},
            {"params": others, "of": "others", "weight_decay": 0.0},
            {"params": prototypes, "of": "prototypes", "weight_decay": 0.0},
        ]
        return OPTIMISERS[self.config.optimiser](
            groups, lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )

    def _set_learning_rates(self) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()

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

    # -- the end -----------------------------------------------------------------------------------------------------

    def finish(self, data: dict[str, str]) -> dict[str, Any]:
        """Conclude the run and write the model; returns the summary.

        One process does it; in the others this returns an empty summary at once.

        Args:
            data: What the model card says of the data; ``fold`` names the model.

        Raises:
            ValueError: A network with prototypes, and no case has a label-pure patch of a class that has some.
        """
        if self.rank:
            return {}
        network = self.ema.eval()
        round_as_stored(network)
        monitored = (self.held_out or self.cases[:5])[: self.config.scored_cases]
        summary: dict[str, Any] = {"monitored": "held out" if self.held_out else "training cases", "n": len(monitored)}
        prototypes = self._conclude(network, monitored, summary)
        summary |= self._cost()
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
        self._describe(network, prototypes)
        self._share(network, monitored[0])
        self._close_logbook()
        return summary

    def _conclude(
        self, network: SegmentationNet, monitored: Sequence[TrainingCase], summary: dict[str, Any]
    ) -> tuple[Prototype, ...]:
        """Last changes to the averaged network, and its Dice; returns the records of its prototypes."""
        summary["dice"] = mean_dice(network, monitored)
        return ()

    def _describe(self, network: SegmentationNet, prototypes: tuple[Prototype, ...]) -> None:
        """What is measured on the model once it is stored."""

    def _share(self, network: SegmentationNet, case: TrainingCase) -> None:
        """Slices of a case, the curves and the model, for the trackers."""
        if not (self.logbook and self.logbook.tracked):
            return
        images, label = case.images.float().cpu().numpy(), case.label.cpu().numpy()
        shown = compared(Case(case.case_id, images, case.affine, label), predict_classes(network, case))
        self.logbook.log_table(self.step, "slices", slice_table(shown))
        self.logbook.log_picture(self.step, "curves", self.logbook.plot())
        self.logbook.log_artifact("model", [self.out / "model.safetensors", self.out / "model.json"])

    def _cost(self) -> dict[str, Any]:
        """What the run took."""
        patches = self.step * self.config.accumulation * self.config.batch_size * self.processes
        return {
            "steps": self.step,
            "minutes": round(self.elapsed_s / 60, 2),
            "patches": patches,
            "patches_per_second": round(patches / max(self.elapsed_s, 1e-9), 3),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "peak_memory_mib": peak_memory_mib(self.device),
        }

    def _recorded_config(self) -> dict[str, Any]:
        """The configuration for the card, without the places of this machine."""
        started = tuple("/".join(Path(place).parts[-2:]) for place in self.config.start_from)
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
            "validated": self.validated,
            "plateau": self.plateau,
            "scaler": self.scaler.state_dict(),
            **self._phase_state(),
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
        self.step, self.elapsed_s, self.plateau = state["step"], state["elapsed_s"], state["plateau"]
        self.validated = state.get("validated", 0)
        self._restore_phase(state)

    def _phase_state(self) -> dict[str, Any]:
        """What a checkpoint must also hold."""
        return {}

    def _restore_phase(self, state: dict[str, Any]) -> None:
        """The inverse of ``_phase_state``."""

    def _log(self, losses: dict[str, float]) -> None:
        total = sum(losses.values())
        if not np.isfinite(total):
            raise FloatingPointError(f"The loss is {total} at step {self.step}: {losses}; lower the rate.")
        if self.logbook:
            curves = {f"loss/{name}": value for name, value in losses.items()}
            clock = {"learning_rate": self._learning_rate(), "minutes": self.elapsed_s / 60}
            clock["gradient_norm"] = self.gradient_norm
            self.logbook.log(self.step, {"loss/total": total} | curves | clock)
        if self.on_progress:
            self.on_progress(self.progress, f"{self.phase} step {self.step} loss {total:.3f}")

    def _close_logbook(self) -> None:
        if self.logbook:
            self.logbook.plot()
            self.logbook.close()


def mean_dice(network: SegmentationNet, cases: Sequence[TrainingCase]) -> dict[str, float]:
    """Mean Dice of WT, TC and ET over prepared cases; both empty counts 1."""
    scores: dict[str, list[float]] = {region: [] for region in REGIONS}
    for case in cases:
        predicted, truth = predict_classes(network, case), case.label.cpu().numpy()
        for region, classes in REGIONS.items():
            scores[region].append(dice(np.isin(predicted, classes), np.isin(truth, classes)))
    return {region: round(float(np.mean(values)), 4) for region, values in scores.items()}


@torch.no_grad()
def predict_classes(network: SegmentationNet, case: TrainingCase) -> np.ndarray:
    """(X, Y, Z) uint8 classes of a prepared case: argmax of the upsampled logits, nothing else."""
    device = next(network.parameters()).device  # held-out cases stay in the computer's memory
    _, logits = run_network(network, case.images.float().to(device), half_precision_of(device))
    whole = upsample(logits[None], [n * network.stride for n in logits.shape[1:]])
    box = tuple(slice(n) for n in case.label.shape)
    return whole.argmax(dim=1)[0][box].to(torch.uint8).cpu().numpy()


def peak_memory_mib(device: str) -> float | None:
    """The most memory that this process has held, of the GPU where it computes there; None where nobody counts."""
    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, whose ru_maxrss begins with the peak of the process that started this one
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(kib) / 2**10)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def _no_augmentation() -> AugmentationConfig:
    return AugmentationConfig(**dict.fromkeys(AugmentationConfig.__dataclass_fields__, 0.0))


def _join_processes(device: str) -> tuple[int, int]:
    """Rank and number of processes; joins the group that torchrun describes in the environment."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return dist.get_rank(), dist.get_world_size()


def _synchronised(network: SegmentationNet, processes: int, device: str) -> SegmentationNet:
    """On several GPUs BatchNorm takes its statistics over all of them."""
    if processes > 1 and device.startswith("cuda"):
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return network


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1))
