"""A network for other programs: ONNX and TorchScript, each compared with torch before it is handed out.

Both take z-scored images (B, 4, X, Y, Z) as ``preprocess.prepare`` makes them, the sizes multiples of
``size_multiple``. ONNX gives what the network gives, similarities included; TorchScript gives class logits at the size
of the input, which is what programs expect that know nothing of prototypes.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ProtoSegBrainLib.files import check_folder, write_whole
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.inference import fuse_for_inference
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import ModelCard

TOLERANCE = 1e-3
"""Largest difference to torch that a logit or a similarity may have."""
# Edges in multiples of the network's size_multiple: one size to export with, two others to compare with.
EXPORTED_SIZE = (2, 3, 4)
COMPARED_SIZES = ((3, 2, 2), (4, 3, 5))
SEED = 0

Run = Callable[[Tensor], Sequence[Tensor]]


class Export(NamedTuple):
    """A network in another format.

    Attributes:
        content: The file.
        largest_difference: To torch, of any output on images of the compared sizes.
    """

    content: bytes
    largest_difference: float


def write_onnx(model: tuple[SegmentationNet, ModelCard], path: Path) -> Export:
    """Write an ONNX file, in place of any that is there.

    Raises:
        FileExistsError: Its folder cannot be made.
        IsADirectoryError: It is a folder itself.
        ImportError, RuntimeError: As ``to_onnx``.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name the file to write, such as {path / 'model.onnx'}.")
    check_folder(path.parent)
    export = to_onnx(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, export.content)
    return export


def to_onnx(model: tuple[SegmentationNet, ModelCard]) -> Export:
    """The network, on the CPU and in evaluation mode, as ONNX: ``images`` -> ``logits`` and ``similarities``.

    A network without prototypes gives logits only. The outputs lie on the network's own grid (``stride`` voxels of the
    input each). What a program must know to use them is in the file's metadata.

    Raises:
        ImportError: The packages that write and run ONNX are missing.
        RuntimeError: The result differs from torch by more than ``TOLERANCE``.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (what torch.onnx needs)
    except ImportError as error:
        raise ImportError(f'ONNX needs further packages ({error}): pip install "protosegbrain[export]"') from error
    network = _LogitsAndSimilarities(model[0])
    outputs = ["logits", "similarities"] if model[0].prototype_class else ["logits"]
    with _quietly():
        program: Any = torch.onnx.export(
            _LogitsAndSimilarities(fuse_for_inference(model[0])),
            (_images(EXPORTED_SIZE, model[0].size_multiple),),
            dynamo=True,
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes={"images": _any_size(model[0].size_multiple)},
            verbose=False,
        )
    for node in program.model.graph:
        node.metadata_props.clear()  # they hold the paths of source files on the machine that exports
    program.model.metadata_props.update(_properties(*model))
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(output) for output in session.run(outputs, {"images": images.numpy()})]

    return Export(content, _compared("ONNX", network, run, model[0].size_multiple))


def to_torchscript(network: SegmentationNet) -> Export:
    """The network, as for ``to_onnx``, as TorchScript: images (B, 4, X, Y, Z) -> class logits (B, 4, X, Y, Z).

    The logits are those before calibration. TorchScript is what MONAI's programs load without the code of a network;
    ``torch.export`` has taken its place in torch, but its modules cannot be put into evaluation mode, which those
    programs do.

    Raises:
        RuntimeError: The result differs from torch by more than ``TOLERANCE``.
    """
    fine = _FullResolution(network)
    with _quietly():
        fused = _FullResolution(fuse_for_inference(network)).requires_grad_(False)
        traced = torch.jit.trace(fused, _images(EXPORTED_SIZE, network.size_multiple), check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
        content = _without_sources(buffer.getvalue())
        loaded = torch.jit.load(io.BytesIO(content))
    compared = _compared("TorchScript", lambda x: (fine(x),), lambda x: (loaded(x),), network.size_multiple)
    return Export(content, compared)


def _without_sources(torchscript: bytes) -> bytes:
    """The same archive without its debugging records: they hold paths of the machine that exports."""
    whole, kept = io.BytesIO(torchscript), io.BytesIO()
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(kept, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(entry, source.read(entry))
    return kept.getvalue()


class _LogitsAndSimilarities(nn.Module):
    """What a network gives, as a plain tuple; the similarities are left out where there are none."""

    def __init__(self, network: SegmentationNet) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.network(images)
        return (output.logits, output.similarities) if self.network.prototype_class else (output.logits,)


class _FullResolution(nn.Module):
    """Logits at the size of the input."""

    def __init__(self, network: SegmentationNet) -> None:
        super().__init__()
        self.network = network
        # By a factor and not to a size, which tracing would write down as numbers.
        self.upsample = nn.Upsample(scale_factor=network.stride, mode="trilinear")
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images).logits
        return self.upsample(logits) if self.network.stride > 1 else logits


def _images(counts: tuple[int, ...], multiple: int) -> Tensor:
    """Noise as strong as z-scored images, (1, 4, X, Y, Z); the same at every call."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(1, len(MODALITIES), *(count * multiple for count in counts), generator=generator)


def _any_size(multiple: int) -> dict[int, Any]:
    """Every axis of space may have any size that is a multiple."""
    return {axis: multiple * torch.export.Dim(f"blocks_{name}", min=2) for axis, name in enumerate("xyz", start=2)}


@torch.inference_mode()
def _compared(name: str, expected: Run, found: Run, multiple: int) -> float:
    """The largest difference of two networks on images of the compared sizes."""
    worst = 0.0
    for images in (_images(size, multiple) for size in COMPARED_SIZES):
        for one, other in zip(expected(images), found(images), strict=True):
            difference = float((one - other).abs().max())
            if not difference <= TOLERANCE:  # nor NaN
                raise RuntimeError(
                    f"The {name} export differs from torch by {difference:.3g} on images of {tuple(images.shape[2:])} "
                    f"voxels ({TOLERANCE:g} is allowed), so nothing was written. Try another version of torch."
                )
            worst = max(worst, difference)
    return worst


def _properties(network: SegmentationNet, card: ModelCard) -> dict[str, str]:
    """The model card in short, for the metadata of a file: text by name, lists as JSON."""
    values = {
        "name": card.name,
        "identity": card.identity,
        "modalities": list(MODALITIES),
        "classes": list(CLASSES),
        "prototype_class": [CLASSES[index] for index in network.prototype_class],
        "temperature": list(card.calibration.temperature),
        "size_multiple": network.size_multiple,
        "stride": network.stride,
        "input": "RAS axes, 1 mm, skull-stripped; each modality z-scored over its voxels that are not 0",
        "intended_use": "Research use only. Not a medical device.",
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


@contextmanager
def _quietly() -> Iterator[None]:
    """Exporters warn of packages that no network here needs, and of checks of sizes that hold for all multiples."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
