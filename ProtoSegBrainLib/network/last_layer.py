"""From similarities to logits: a weighted sum, so that every prototype's share in a decision can be told."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.blocks import pointwise

MAX_LOGIT_AT_START = 10.0


class LastLayer(nn.Module):
    """Class logits as a weighted sum of similarities: logit_k = bias_k + sum_p weight_kp s_p.

    With ``class_connected`` a prototype speaks for its own class only and never against one (weights >= 0), so a
    contribution weight * similarity reads as evidence. Summed in float64: in float32 the sum of a trained network,
    several tens, is off by up to 2e-5, and explanations promise an exact one.

    Args:
        prototype_class: Class index of each of the P prototypes.
        class_connected: See above.
        max_similarity: Of a prototype to itself; where it is reached, a class starts with ``MAX_LOGIT_AT_START``.
    """

    prototype_class_identity: Tensor

    def __init__(self, prototype_class: Sequence[int], class_connected: bool, max_similarity: float) -> None:
        super().__init__()
        owners = torch.tensor(prototype_class)
        identity = F.one_hot(owners, len(CLASSES)).T.float()  # (K, P)
        self.register_buffer("prototype_class_identity", identity)
        self.class_connected = class_connected
        self.weight = nn.Parameter(identity * MAX_LOGIT_AT_START / max_similarity)
        self.bias = nn.Parameter(torch.zeros(len(CLASSES)))

    def forward(self, similarities: Tensor) -> Tensor:
        """(B, P, x, y, z) -> (B, K, x, y, z), both float32."""
        precise = torch.float32 if similarities.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        terms = (value.to(precise) for value in (similarities, self.weight, self.bias))
        return pointwise(*terms).to(similarities.dtype)

    @torch.no_grad()
    def constrain(self) -> None:
        """Put weights and bias back into the allowed set; called after every optimiser step.

        No bias exceeds background's: where nothing is like any prototype, no tumour may be found.
        """
        if self.class_connected:
            self.weight.clamp_(min=0).mul_(self.prototype_class_identity)
        self.bias.clamp_(max=self.bias[0].clone())
