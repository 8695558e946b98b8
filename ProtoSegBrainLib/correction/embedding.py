"""What the network makes of each place of a case before it is compared with the prototypes; numpy once it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.network.evidence import require_prototypes
from ProtoSegBrainLib.result.prediction import Prediction, prototype_affine

if TYPE_CHECKING:
    from ProtoSegBrainLib.images.case import Case
    from ProtoSegBrainLib.network.device import Attempt, Device, Precision
    from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
    from ProtoSegBrainLib.network.weights import ModelCard

SAME_PLACE_MM = 0.01


@dataclass(frozen=True, eq=False)
class Embedding:
    """The embedding of a case.

    Attributes:
        case_id: Of the case.
        vectors: (C, x, y, z) of unit length, on the prototypes' grid.
        affine: 4x4, voxel of ``vectors`` -> RAS mm.
        model: Identity of the model, as in ``Prediction.model``.
    """

    case_id: str
    vectors: np.ndarray
    affine: np.ndarray
    model: str

    def check_is_of(self, prediction: Prediction) -> None:
        """Refuse the embedding of other images or another model than a result's.

        Raises:
            ValueError: It does not belong to the result.
        """
        ours, theirs = self.model, str(prediction.model.get("identity"))
        if ours != theirs:
            raise ValueError(
                f"Case {prediction.case_id}: the result was made by {prediction.model['name']} ({theirs}), "
                f"the embedding by another model ({ours}); give the model of the result."
            )
        shape = prediction.similarities.shape[1:]
        is_same = self.vectors.shape[1:] == shape and np.allclose(
            self.affine, prediction.similarity_affine, atol=SAME_PLACE_MM
        )
        if not is_same:
            raise ValueError(
                f"Case {prediction.case_id}: the images are not those of the result ({self.case_id}: grid of "
                f"{self.vectors.shape[1:]} at {np.round(self.affine[:3, 3], 1)} mm, expected {shape} at "
                f"{np.round(prediction.similarity_affine[:3, 3], 1)} mm)."
            )


def embedding_of(
    case: Case,
    model: tuple[SegmentationNet, ModelCard] | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> Embedding:
    """Run the network over a case, as ``predict`` does, up to the embedding.

    Args:
        case: Four images on one grid, skull-stripped.
        model: Network and card as ``load_model`` gives them; None takes the bundled weights.
        device: As of ``PredictConfig``.
        precision: As of ``PredictConfig``.

    Raises:
        ValueError: A model without prototypes, an empty case, or the device is not there.
        MemoryError: Not even tiles on the CPU fit into memory.
    """
    import torch

    from ProtoSegBrainLib.images.preprocess import prepare
    from ProtoSegBrainLib.network.device import first_that_fits, plan
    from ProtoSegBrainLib.network.inference import fuse_for_inference, run_embedding
    from ProtoSegBrainLib.network.model import ProtoSegNet
    from ProtoSegBrainLib.network.weights import load_model

    network, card = model or load_model(None, "cpu")
    require_prototypes(network.prototype_class, card.name)
    assert isinstance(network, ProtoSegNet)
    network_input = prepare(case)
    images = torch.from_numpy(network_input.images)

    @torch.inference_mode()
    def run(attempt: Attempt) -> np.ndarray:
        fused = fuse_for_inference(network).to(attempt.device)
        vectors = run_embedding(fused, images.to(attempt.device), attempt.precision, tile=attempt.tile)
        return np.asarray(vectors.cpu().numpy())

    vectors, _, _ = first_that_fits(plan(device, precision, None), run, case.case_id)
    return Embedding(case.case_id, vectors, prototype_affine(network_input.affine, network.stride), card.identity)
