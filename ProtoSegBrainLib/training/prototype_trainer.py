"""Training with prototypes: ``warm_up`` -> ``joint`` -> ``projection``, around the loop that all networks share."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ProtoSegBrainLib.explanation.portrait import portray
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.network.model import ModelConfig, ProtoSegNet, with_reach
from ProtoSegBrainLib.network.prototype_layer import log_similarity_at
from ProtoSegBrainLib.network.segmentation_net import NetworkOutput, SegmentationNet
from ProtoSegBrainLib.network.weights import describe_prototypes
from ProtoSegBrainLib.patches.cases import TrainingCase, brain_label, pure_label
from ProtoSegBrainLib.patches.sampling import Batch
from ProtoSegBrainLib.training.losses import level_losses, prototype_losses
from ProtoSegBrainLib.training.prototypes import (
    gather_voxels,
    initialise_prototypes,
    project_prototypes,
    refit_last_layer,
    reseed_prototypes,
    sample_pure_voxels,
)
from ProtoSegBrainLib.training.recipe import first_network
from ProtoSegBrainLib.training.trainer import Trainer
from ProtoSegBrainLib.training.validation import mean_dice

logger = logging.getLogger(__name__)


class PrototypeTrainer(Trainer):
    """A run of a ``ProtoSegNet``."""

    network: ProtoSegNet
    ema: ProtoSegNet

    def _begin(self) -> None:
        self.finish_share = self.config.finish_share
        self.initialised, self.reseeded = bool(self.config.start_from), 0
        self._limit_reach()

    def _first_network(self) -> ProtoSegNet:
        """With this run's reach."""
        return with_reach(cast(ProtoSegNet, first_network(self.config)), self._model.reach)

    @property
    def _model(self) -> ModelConfig:
        return cast(ModelConfig, self.config.model)

    @property
    def phase(self) -> str:
        """``warm_up`` or ``joint``; projection follows in ``finish``."""
        return "joint" if self.initialised else "warm_up"

    # -- the loop ------------------------------------------------------------------------------------------------

    def _prepare_step(self) -> None:
        if not self.initialised and self.progress >= self.config.warm_up_share:
            self._initialise()
        if self.initialised and self.reseeded < sum(self.progress >= share for share in self.config.reseed_at):
            self._reseed()

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        output, truth = self._answer(batch)
        terms = level_losses(self.config.loss, (output.logits, *output.deep), truth)
        if self.phase == "joint":
            terms |= self._prototype_losses(output, brain_label(batch.images, batch.label))
        return terms

    def _prototype_losses(self, output: NetworkOutput, label: Tensor) -> dict[str, Tensor]:
        """Per case, then averaged, so that the share of a process does not depend on what the others drew."""
        pure = pure_label(label, self.network.prototype_stride, self._model.prototype_size)
        layer, last = self.network.prototype_layer, self.network.last_layer
        flat, classes = sample_pure_voxels(pure, self.config.prototype_voxels, self._generator())
        # All cases at one go, and the distances alone: each gathering costs a pass backwards over the whole map.
        together = flat + pure[0].numel() * torch.arange(len(pure), device=flat.device)[:, None]
        distances = gather_voxels(output.distances, together.flatten()).unflatten(0, flat.shape)

        def of_case(distances: Tensor, classes: Tensor) -> dict[str, Tensor]:
            similarities, identity = layer.similarities(distances), last.prototype_class_identity
            return prototype_losses(self.config.loss, distances, similarities, classes, identity, last.weight)

        return {name: terms.mean() for name, terms in torch.vmap(of_case)(distances, classes).items()}

    def _generator(self) -> torch.Generator:
        """Draws the same for every case of a step, so that it does not matter which process has it."""
        return torch.Generator().manual_seed(self.config.seed + 7919 * self.step)

    def _constrain(self) -> None:
        self.network.last_layer.constrain()

    def _set_learning_rates(self) -> None:
        super()._set_learning_rates()
        for group in self.optimiser.param_groups:
            if group["of"] == "prototypes" and self.initialised:
                group["lr"] *= self.config.prototype_rate

    # -- phases ------------------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        """End of the warm-up: prototypes become k-means centres of what the network has learned to see."""
        with self._half_precision():
            initialise_prototypes(self.network, self._training_patches(), self.config.seed)
        self._share_prototypes()
        self.ema.load_state_dict(self.network.state_dict())
        self.initialised = True
        self._limit_reach()

    def _limit_reach(self) -> None:
        """In the warm-up similarities reach everywhere: random prototypes are near to nothing and would not learn."""
        reach = self._model.reach if self.initialised else None
        for network in (self.network, self.ema):
            network.prototype_layer.zero = log_similarity_at(reach, self._model.epsilon)

    def _reseed(self) -> None:
        """Prototypes that left the data go back to them, in the live and in the averaged network."""
        self.reseeded = sum(self.progress >= share for share in self.config.reseed_at)
        seed = self.config.seed + self.reseeded
        with self._half_precision():
            moved = reseed_prototypes(self.network, self._training_patches(), self.config.reseed_distance, seed)
        self._share_prototypes()
        with torch.no_grad():
            self.ema.prototype_layer.prototype_vectors[moved] = self.network.prototype_layer.prototype_vectors[moved]
            self.ema.last_layer.weight[:, moved] = self.network.last_layer.weight[:, moved]
        logger.info("step %d: prototypes %s had left the data and were moved back", self.step, moved)

    def _training_patches(self) -> Iterator[Batch]:
        """One of each case, without augmentation."""
        return self._plain_batches(self.cases, max(16, len(self.cases)), self.config.seed + 1)

    def _share_prototypes(self) -> None:
        """Process 0's prototypes for all: running statistics, and so embeddings, differ a little between processes."""
        network = self.network
        self.processes.take_from_first([network.prototype_layer.prototype_vectors, network.last_layer.weight])

    def _conclude(
        self, network: SegmentationNet, monitored: Sequence[TrainingCase], summary: dict[str, Any]
    ) -> tuple[Prototype, ...]:
        """Projection phase: project, re-fit the last layer."""
        network = cast(ProtoSegNet, network)
        summary["dice_before_projection"] = mean_dice(network, monitored)
        with self._half_precision():
            prototypes = project_prototypes(network, self.cases, self.on_progress)
        summary["dice_after_projection"] = mean_dice(network, monitored)
        with self._half_precision():
            losses = refit_last_layer(
                network, self.cases, smooth_voxels=self.config.loss.smooth_voxels, on_progress=self.on_progress
            )
        summary["dice_after_refit"] = summary["dice"] = mean_dice(network, monitored)
        summary["refit_loss"] = losses[-1]
        return prototypes

    def _describe(self, network: SegmentationNet, prototypes: tuple[Prototype, ...]) -> None:
        if not self.config.portraits:
            return
        portraits = portray(cast(ProtoSegNet, network), self.cases, prototypes, self.on_progress)
        describe_prototypes(self.out / "model.safetensors", portraits)

    # -- files -------------------------------------------------------------------------------------------------------

    def _phase_state(self) -> dict[str, Any]:
        return {"initialised": self.initialised, "reseeded": self.reseeded}

    def _restore_phase(self, numbers: dict[str, Any]) -> None:
        self.initialised, self.reseeded = numbers["initialised"], numbers.get("reseeded", 0)
        self._limit_reach()
