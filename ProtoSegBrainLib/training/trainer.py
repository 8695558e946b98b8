"""The training loop: one for every network and for CPU, GPU and several processes.

A run is a function of its configuration and seed: patch number i depends on the seed and i alone, so a killed run that
resumes follows the curve of one that was never killed. Start several processes with ``torchrun``; each then draws its
share of every batch.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.network.device import at_precision, peak_memory_mib
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.network.processes import Processes
from ProtoSegBrainLib.network.segmentation_net import NetworkOutput, SegmentationNet
from ProtoSegBrainLib.network.weights import ModelCard, round_as_stored, save_model
from ProtoSegBrainLib.patches.cases import TrainingCase, class_shares
from ProtoSegBrainLib.patches.sampling import Batch, PatchSampler, plain_batches
from ProtoSegBrainLib.pictures.case_sheets import compared, slice_table
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.training.checkpoint import read_checkpoint, write_checkpoint
from ProtoSegBrainLib.training.logbook import Logbook, open_trackers
from ProtoSegBrainLib.training.losses import level_losses
from ProtoSegBrainLib.training.optimisation import (
    Plateau,
    batch_norms,
    follow,
    learning_rate_at,
    make_optimiser,
    statistics_anew,
)
from ProtoSegBrainLib.training.recipe import TrainConfig, first_network, precision_of, recorded
from ProtoSegBrainLib.training.validation import mean_dice, patch_scores, predict_classes

STATISTICS_BATCHES = 40
"""From which a mean of networks takes its BatchNorm statistics."""


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
        healthy: Sequence[TrainingCase] = (),
    ) -> None:
        self.config, self.cases, self.held_out, self.out, self.device = config, cases, held_out, out, device
        self.on_progress = on_progress
        self.precision = precision_of(config, device)
        self.processes = Processes(device)
        torch.set_flush_denormal(True)  # second moments fade into numbers that a processor computes with very slowly
        torch.manual_seed(config.seed)
        self.network = self.processes.with_common_statistics(self._first_network()).to(device)
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.forward = self.processes.with_common_gradients(self.network)
        self.optimiser = make_optimiser(self.network, config.optimiser, config.learning_rate, config.weight_decay)
        self.scaler = torch.amp.GradScaler(device.split(":")[0], enabled=config.precision == "float16")
        self.sampler = PatchSampler(
            cases,
            config.sampling,
            config.augmentation,
            size_multiple=self.network.size_multiple,
            seed=config.seed,
            healthy=healthy,
        )
        self.logbook: Logbook | None = None
        self.step, self.elapsed_s, self.validated, self.gradient_norm = 0, 0.0, 0, float("nan")
        self.plateau = Plateau()
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
        if self.processes.rank == 0 and self.logbook is None:
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
            self.elapsed_s += self.processes.mean([time.monotonic() - started])[0]
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
        if not batch_norms(self.network):
            return
        self.network.train()
        with statistics_anew(self.network):
            for number in range(STATISTICS_BATCHES):
                if self.on_progress:
                    self.on_progress(number / STATISTICS_BATCHES, "Statistics of the mean")
                self._answer(self.sampler.batch(self._patch_numbers(number)))
        self.ema.load_state_dict(self.network.state_dict())

    def _prepare_step(self) -> None:
        """What must be done between two steps."""

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the weighted loss terms."""
        config = self.config
        # Of this step alone: a resumed run drops what it would have.
        torch.manual_seed(config.seed + 7919 * self.step + self.processes.rank)
        self._training_mode()
        self._set_learning_rates()
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for part in range(config.accumulation):
            # Gradients are exchanged once, with the last part.
            last = part == config.accumulation - 1
            with nullcontext() if last else self.processes.apart(self.forward):
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
        follow(self.ema, self.network, config.ema_decay, self.step)
        # Rate, phase and end follow from losses and times: they must not differ between processes.
        sums = dict(zip(sums, self.processes.mean(list(sums.values())), strict=True))
        self.plateau.update(sum(sums.values()))
        return sums

    def _set_learning_rates(self) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()

    def _learning_rate(self) -> float:
        config = self.config
        plateau = self.plateau if config.schedule == "plateau" else None
        return learning_rate_at(self.progress, config.learning_rate, config.ramp_share, plateau)

    def _training_mode(self) -> None:
        """Training mode; near the end BatchNorm works as it will in inference, on statistics of many batches."""
        self.network.train()
        if self.progress >= 1 - self.config.frozen_norm_share:
            for norm in batch_norms(self.network):
                norm.eval()

    def _patch_numbers(self, part: int) -> list[int]:
        """This process's patches of this step; together the processes draw what one with a larger batch would."""
        config = self.config
        per_part = config.batch_size * self.processes.count
        first = (self.step * config.accumulation + part) * per_part + self.processes.rank * config.batch_size
        return list(range(first, first + config.batch_size))

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss terms of a batch, by name."""
        output, truth = self._answer(batch)
        return level_losses(self.config.loss, (output.logits, *output.deep), truth)

    def _answer(self, batch: Batch) -> tuple[NetworkOutput, Tensor]:
        """What the network says of a batch, and the truth on the grid of the images."""
        images = batch.images.contiguous(memory_format=torch.channels_last_3d)
        with self._half_precision():
            output: NetworkOutput = self.forward(images)
        return output, self.network.teachable(class_shares(batch.label, 1))

    def _constrain(self) -> None:
        """Put weights back into their allowed set."""

    def _half_precision(self) -> torch.autocast:
        """A context in which convolutions are computed as this run's configuration says."""
        return at_precision(self.precision, torch.device(self.device))

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

    def validate(self, cases: Sequence[TrainingCase]) -> dict[str, float]:
        """Loss and Dice of the averaged network on fixed patches of these cases."""
        patches = self._plain_batches(cases, self.config.validation_patches, self.config.seed + 2)
        return patch_scores(self.ema.eval(), patches, self.config.loss, self.precision)

    def _plain_batches(self, cases: Sequence[TrainingCase], count: int, seed: int) -> Iterator[Batch]:
        """Patches of cases without augmentation, one at a time."""
        multiple = self.network.size_multiple
        return plain_batches(cases, self.config.sampling, count, size_multiple=multiple, seed=seed)

    # -- the end -----------------------------------------------------------------------------------------------------

    def finish(self, data: dict[str, str]) -> dict[str, Any]:
        """Conclude the run and write the model; returns the summary.

        One process does it; in the others this returns an empty summary at once.

        Args:
            data: What the model card says of the data; ``fold`` names the model.

        Raises:
            ValueError: A network with prototypes, and no case has a label-pure patch of a class that has some.
        """
        if self.processes.rank:
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
            "config": recorded(self.config),
        }
        name = self.config.name or f"protosegbrain-fold-{data['fold']}"
        card = ModelCard(name, self.config.model, prototypes, training=training, metrics=dict(summary))
        save_model(self.out / "model.safetensors", network, card)
        warnings = {case.case_id: case.warnings for case in (*self.cases, *self.held_out) if case.warnings}
        summary |= {"warnings": warnings} if warnings else {}
        write_whole(self.out / "summary.json", json.dumps(summary, indent=1))
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
        patches = self.step * self.config.accumulation * self.config.batch_size * self.processes.count
        return {
            "steps": self.step,
            "minutes": round(self.elapsed_s / 60, 2),
            "patches": patches,
            "patches_per_second": round(patches / max(self.elapsed_s, 1e-9), 3),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "peak_memory_mib": peak_memory_mib(self.device),
        }

    # -- files -------------------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Write down where the run stands."""
        if self.processes.rank:
            return
        numbers = {
            "elapsed_s": self.elapsed_s,
            "validated": self.validated,
            "plateau": asdict(self.plateau),
            "scaler": self.scaler.state_dict(),
            **self._phase_state(),
        }
        write_checkpoint(self.out, self.step, self._stored_networks, self.optimiser, numbers)

    def load_checkpoint(self) -> None:
        """Go back to the last checkpoint in ``out``.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is of another network.
        """
        numbers = read_checkpoint(self.out, self._stored_networks, self.optimiser)
        self.scaler.load_state_dict(numbers["scaler"])
        self.step, self.elapsed_s, self.plateau = numbers["step"], numbers["elapsed_s"], Plateau(**numbers["plateau"])
        self.validated = numbers.get("validated", 0)
        self._restore_phase(numbers)

    @property
    def _stored_networks(self) -> dict[str, SegmentationNet]:
        return {"network": self.network, "ema": self.ema}

    def _phase_state(self) -> dict[str, Any]:
        """What a checkpoint must also hold."""
        return {}

    def _restore_phase(self, numbers: dict[str, Any]) -> None:
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
