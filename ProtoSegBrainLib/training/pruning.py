"""Take prototypes out of a model for good, and fit the last layer to those that stay."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.evidence import require_prototypes
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.weights import ModelCard
from ProtoSegBrainLib.patches.cases import TrainingCase
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.training.prototypes import refit_last_layer

# Tensors of the network with one entry per prototype, and the axis on which it stands.
AXIS_OF_PROTOTYPES = {
    "prototype_layer.prototype_vectors": 0,
    "last_layer.weight": 1,
    "last_layer.prototype_class_identity": 1,
}


def prune(
    network: ProtoSegNet,
    card: ModelCard,
    removed: Collection[int],
    cases: Sequence[TrainingCase],
    on_progress: Progress | None = None,
) -> tuple[ProtoSegNet, ModelCard]:
    """A model without some prototypes, its last layer fitted again; the given one is left as it is.

    The other prototypes, and all before them in the network, do not change, so neither do their similarities.
    Temperatures and minimum volumes are kept, although they were fitted with the old last layer, and the card says so;
    intervals and expected Dice are left out, because they were never measured for this model.

    Args:
        network: As ``load_model`` gives it.
        card: Of the same model.
        removed: Numbers of the prototypes to take out.
        cases: To fit the last layer on: those the model was trained on, never those it is judged by.
        on_progress: Called with a fraction and what is being done.

    Returns:
        The smaller network, in evaluation mode, and its card, prototypes numbered anew.

    Raises:
        ValueError: No prototype is named, or one that is not there, or the last one of a class; there is no case; or
            the model has no prototypes at all.
    """
    require_prototypes(network.prototype_class, card.name)
    if not cases:
        raise ValueError("The last layer is fitted again on labelled cases; got none.")
    pruned = without_prototypes(network, removed)
    losses = refit_last_layer(pruned, cases, on_progress=on_progress)
    kept = [prototype for prototype in card.prototypes if prototype.index not in removed]
    record = {
        "from": {"name": card.name, "identity": card.identity},
        "removed": [_origin(network, card, index) for index in sorted(set(removed))],
        "last_layer_fitted_on": [case.case_id for case in cases],
        "calibration": "temperatures and minimum volumes kept, not fitted again; reliability left out, not measured",
    }
    new_card = replace(
        card,
        name=f"{card.name.removesuffix('-pruned')}-pruned",
        model=pruned.config,
        # Their shares were of the old last layer.
        prototypes=tuple(replace(p, index=index, explained_share=None) for index, p in enumerate(kept)),
        calibration=replace(card.calibration, reliability=()),
        training={**card.training, "pruning": [*card.training.get("pruning", []), record]},
        metrics={"refit_loss": losses[-1], "before_pruning": card.metrics},
        identity="",
    )
    return pruned, new_card


def without_prototypes(network: ProtoSegNet, removed: Collection[int]) -> ProtoSegNet:
    """A copy of a network without some of its prototypes, all other weights unchanged.

    Raises:
        ValueError: No prototype is named, or one that is not there, or the last one of a class.
    """
    owners = network.prototype_class
    unknown = sorted(set(removed) - set(range(len(owners))))
    if unknown or not removed:
        named = ", ".join(map(str, unknown)) or "none"
        raise ValueError(f"Expected numbers of prototypes to remove, 0 to {len(owners) - 1}; got {named}.")
    kept = [index for index in range(len(owners)) if index not in removed]
    counts = [sum(owners[index] == k for index in kept) for k in range(len(CLASSES))]
    for name, before, after in zip(CLASSES, network.config.prototypes_per_class, counts, strict=True):
        if before and not after:
            raise ValueError(f"That would remove every prototype of {name}; at least one must stay.")
    pruned = ProtoSegNet(replace(network.config, prototypes_per_class=tuple(counts)))
    state = dict(network.state_dict())
    for name, axis in AXIS_OF_PROTOTYPES.items():
        index = state[name].new_tensor(kept).long()
        state[name] = state[name].index_select(axis, index)
    pruned.load_state_dict(state)
    return pruned.eval().to(network.last_layer.bias.device)


def _origin(network: ProtoSegNet, card: ModelCard, index: int) -> dict[str, object]:
    """What the new card says of a prototype that is gone."""
    case_ids = {prototype.index: prototype.case_id for prototype in card.prototypes}
    class_name = CLASSES[network.prototype_class[index]]
    return {"index": index, "class": class_name, "case_id": case_ids.get(index)}
