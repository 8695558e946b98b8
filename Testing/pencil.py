"""A network that can be computed with a pencil: one prototype for background, one for enhancing tumour.

The similarity to the ET prototype is the mean T1ce of a voxel of the prototype grid; that to the background prototype
is 0.5 everywhere. So a voxel is enhancing tumour where its mean T1ce is above 0.5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.network.segmentation_net import NetworkOutput

T1C = MODALITIES.index("t1c")
STEEP = 100.0


class PencilNetwork(nn.Module):
    """Has the parts of a ``ProtoSegNet`` that the measures use; ``far_sight`` adds that share of the image's mean."""

    prototype_stride = 2
    size_multiple = 2

    def __init__(self, far_sight: float = 0.0) -> None:
        super().__init__()
        self.far_sight = far_sight
        self.embedding = nn.Identity()
        self.last_layer = PencilLastLayer()

    def backbone(self, x: Tensor) -> list[Tensor]:
        return [x]

    def aspp(self, x: Tensor) -> Tensor:
        return x

    def decoder(self, x: Tensor, _: list[Tensor]) -> Tensor:
        return F.avg_pool3d(x, 2)

    def prototype_layer(self, features: Tensor) -> tuple[Tensor, Tensor]:
        t1c = features[:, T1C] + self.far_sight * features[:, T1C].mean()
        similarities = torch.stack([torch.full_like(t1c, 0.5), t1c], dim=1)
        return similarities, -similarities

    def forward(self, x: Tensor) -> NetworkOutput:
        similarities, distances = self.prototype_layer(self.decoder(self.aspp(x), self.backbone(x)).float())
        return NetworkOutput(self.last_layer(similarities), similarities, distances)


class PencilLastLayer(nn.Module):
    """Background and ET compete; NCR and ED never win."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[STEEP, 0], [0, 0], [0, 0], [0, STEEP]]), requires_grad=False)
        self.bias = nn.Parameter(torch.tensor([0, -1000.0, -1000.0, 0]), requires_grad=False)

    def forward(self, similarities: Tensor) -> Tensor:
        return torch.einsum("kp,bpxyz->bkxyz", self.weight, similarities) + self.bias[:, None, None, None]


def row_of_voxels(t1c: list[float]) -> Tensor:
    """(4, 2n, 2, 2): a brain of n voxels of the prototype grid in a row, with this T1ce; the others are 0.1."""
    row = torch.tensor(t1c).repeat_interleave(2)[:, None, None].expand(-1, 2, 2)
    images = torch.full((4, *row.shape), 0.1)
    images[T1C] = row
    return images
