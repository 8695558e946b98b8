"""Does an explanation name the voxels that carry the decision? Delete or insert them in its order and watch.

Incremental deletion and insertion (Petsiuk et al. 2018; scored as Wei et al. 2023, MProtoNet) for a segmentation: the
decision is the predicted whole tumour, its measure the soft Dice of the probability of tumour with that tumour. The
network's own tumour, not the expert's: an explanation is faithful to the network, right or wrong. Deleted voxels take
the mean of the healthy brain, since 0 is no tissue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ProtoSegBrainLib.explanation.mapscores import tumour_evidence
from ProtoSegBrainLib.explanation.perturbation import Scene, per_voxel, similarities_of
from ProtoSegBrainLib.network.model import ProtoSegNet

LEVELS = 51


def ranks(importance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) importance -> (n,) place in descending order over n, 0 to below 1; ties in random order."""
    order = np.lexsort((rng.random(len(importance)), -importance))
    places = np.empty(len(importance), np.float32)
    places[order] = np.arange(len(importance)) / len(importance)
    return places


def orders(
    network: ProtoSegNet, window: Tensor, brain: Tensor, similarities: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """(n,) rank of each voxel of the brain, by the explanation that ranks it.

    ``prototypes``: log-odds of tumour from the contributions; ``grad_cam``: see there; ``random``: by lot.
    """
    weight, bias = (value.detach().cpu().numpy() for value in (network.last_layer.weight, network.last_layer.bias))
    importance: dict[str, np.ndarray] = {
        "prototypes": tumour_evidence(weight @ similarities + bias[:, None]),
        "grad_cam": grad_cam(network, window)[brain].cpu().numpy(),
        "random": np.asarray(rng.random(similarities.shape[1])),
    }
    return {name: ranks(values, rng) for name, values in importance.items()}


def grad_cam(network: ProtoSegNet, window: Tensor) -> Tensor:
    """(x, y, z) Seg-Grad-CAM (Vinogradova et al. 2020) of the predicted tumour on the decoder's last feature maps.

    The score is the sum, over the voxels predicted as tumour, of the logit of the predicted class. The maps are those
    the prototypes see, at the same resolution: the strongest Grad-CAM of this network.
    """
    with torch.no_grad():
        levels = network.backbone(window[None])
        maps = network.decoder(network.aspp(levels[-1]), levels)
    maps = maps.clone().requires_grad_()
    similarities, _ = network.prototype_layer(network.embedding(maps).float())
    high, predicted = network.last_layer(similarities).max(dim=1)
    high[predicted > 0].sum().backward()
    weights = maps.grad.mean(dim=(2, 3, 4), keepdim=True) if maps.grad is not None else torch.zeros_like(maps)
    return (weights * maps).sum(dim=1)[0].detach().relu()


def deletion_scores(
    network: ProtoSegNet, scene: Scene, places: np.ndarray, levels: int, batch_size: int
) -> dict[str, float]:
    """Areas under the curves of deletion (low is good) and insertion (high is good).

    Args:
        network: In evaluation mode, on the scene's device.
        scene: Around the predicted tumour.
        places: (x, y, z) rank of each voxel of the scene in the whole brain; 1 outside the brain.
        levels: From none of the brain's voxels to all of them.
        batch_size: Levels per pass of the network.
    """
    volume = torch.as_tensor(places, device=scene.images.device)
    shares = np.linspace(0, 1, levels)
    gone = [(volume < share) & scene.brain for share in shares]
    kept = [(volume >= share) & scene.brain for share in shares]
    return {
        "incremental_deletion": rescaled_area(tumour_curve(network, scene, gone, batch_size)),
        "incremental_insertion": rescaled_area(tumour_curve(network, scene, kept, batch_size)),
    }


def tumour_curve(network: ProtoSegNet, scene: Scene, masks: Sequence[Tensor], batch_size: int) -> list[float]:
    """Soft Dice of the probability of tumour with ``scene.target``, with the voxels of each mask filled."""
    curve: list[float] = []
    target = scene.target.float()
    for start in range(0, len(masks), batch_size):
        images = torch.stack([_filled(network, scene, mask) for mask in masks[start : start + batch_size]])
        logits = network.last_layer(similarities_of(network, images))
        tumour = (1 - logits.softmax(dim=1)[:, 0]) * scene.brain
        overlap = (tumour * target).sum(dim=(1, 2, 3))
        curve += (2 * overlap / (tumour.sum(dim=(1, 2, 3)) + target.sum())).tolist()
    return curve


def _filled(network: ProtoSegNet, scene: Scene, mask: Tensor) -> Tensor:
    filled = per_voxel(mask, network.prototype_stride) & (scene.images != 0).any(dim=0)
    return torch.where(filled, scene.fill, scene.images)


def rescaled_area(curve: Sequence[float]) -> float:
    """Mean, by trapezoids, of a curve clipped between its two ends and rescaled to 0..1; NaN where they are equal."""
    low, high = sorted((curve[0], curve[-1]))
    if low == high:
        return float("nan")
    values = (np.clip(curve, low, high) - low) / (high - low)
    return float((values[1:] + values[:-1]).mean() / 2)
