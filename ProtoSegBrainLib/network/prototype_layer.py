"""Similarity to the prototypes, the only thing on which the network decides."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ProtoSegBrainLib.network.blocks import pointwise


class PrototypeLayer(nn.Module):
    """Similarity of the features to P prototypes, both brought to unit length: the embedding lives on a sphere.

    With d the squared L2 distance, averaged over the prototype's voxels, so 0 <= d <= 4:
    ``log``: s = log((d + 1) / (d + epsilon)), bounded by log(1 / epsilon) (Chen et al. 2019, ProtoPNet), less its value
    at ``reach`` and 0 beyond: what a prototype is not like at all neither speaks for it nor shows in its map;
    ``cosine``: s = 1 - d / 4 = (1 + cos) / 2.

    Args:
        count: P.
        channels: C, those of the embedding.
        size: Edge of a prototype on its grid; odd.
        similarity: ``log`` or ``cosine``.
        epsilon: Of the logarithm.
        reach: Squared distance from which a log-similarity is 0; None: nowhere.
    """

    def __init__(
        self, count: int, channels: int, size: int, *, similarity: str, epsilon: float, reach: float | None
    ) -> None:
        super().__init__()
        self.prototype_vectors = nn.Parameter(torch.randn(count, channels, size, size, size))
        self.similarity = similarity
        self.epsilon = epsilon
        self.zero = log_similarity_at(reach, epsilon)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, x, y, z) float32 -> similarities and distances, (B, P, x, y, z) each."""
        distances = self.distances(features)
        return self.similarities(distances), distances

    def unit_vectors(self) -> Tensor:
        """The prototypes (P, C, s, s, s), each voxel of unit length."""
        return F.normalize(self.prototype_vectors.float(), dim=1)

    def distances(self, features: Tensor) -> Tensor:
        """Squared L2 by its expansion |z|^2 - 2 z.p + |p|^2 = 2 - 2 z.p, never by broadcast.

        In float32, because the expansion cancels near 0. Beyond the border a patch finds zeros, which count as
        orthogonal to the prototype (a squared distance of 2).
        """
        vectors = -2 * self.unit_vectors()
        size = vectors.shape[-1]
        # The length alone, then one division: half the passes over memory of F.normalize, forwards and backwards.
        unit = features / torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=1e-6)
        if size > 1:
            return F.relu(F.conv3d(unit, vectors / size**3, padding=size // 2) + 2)
        return F.relu(pointwise(unit, vectors.flatten(1), vectors.new_full((len(vectors),), 2.0)))

    def similarities(self, distances: Tensor) -> Tensor:
        """Squared distances -> similarities, same shape; falls steadily with the distance."""
        if self.similarity == "cosine":
            return 1 - distances / 4
        # log((d + 1) / (d + epsilon)), written with two passes over memory fewer.
        similarities = torch.log1p((1 - self.epsilon) / (distances + self.epsilon))
        return F.relu(similarities - self.zero) if self.zero else similarities

    def max_similarity(self) -> float:
        """Similarity at distance 0."""
        return 1.0 if self.similarity == "cosine" else math.log(1 / self.epsilon) - self.zero


def log_similarity_at(distance: float | None, epsilon: float) -> float:
    """log((d + 1) / (d + epsilon)); 0 for a distance of None, which is infinity."""
    return 0.0 if distance is None else math.log((distance + 1) / (distance + epsilon))
