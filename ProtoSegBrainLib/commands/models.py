"""The commands on a whole model: show its card, write it for other programs."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path

from ProtoSegBrainLib.commands.console import Answer
from ProtoSegBrainLib.commands.flags import add_model_flag

# -- info ----------------------------------------------------------------------------------------------------------


def add_info_flags(parser: argparse.ArgumentParser) -> None:
    add_model_flag(parser)
    what = "instead of a model: how a network is built and trained, as a .yaml file that train takes"
    parser.add_argument("--network", metavar="NAME", help=what)


def info(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.commands.model_card import card_text
    from ProtoSegBrainLib.network.weights import BUNDLED, load_model
    from ProtoSegBrainLib.training.configuration import described, load_config

    if options.network:
        return Answer({"network": options.network, **asdict(load_config(options.network))}, described(options.network))
    network, card = load_model(options.model)
    columns = shutil.get_terminal_size().columns
    return Answer(card.to_dict(), card_text(network, card, options.model or BUNDLED, columns))


# -- export --------------------------------------------------------------------------------------------------------


def add_export_flags(parser: argparse.ArgumentParser) -> None:
    add_model_flag(parser)
    what = "onnx: a file for any ONNX runtime; monai: a folder, a MONAI bundle with all steps before and after"
    parser.add_argument("--format", choices=("onnx", "monai"), default="onnx", help=f"{what} (default: onnx)")
    parser.add_argument("--out", type=Path, required=True, help="file to write (onnx) or folder to make (monai)")


def export(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.sharing.bundle import write_bundle
    from ProtoSegBrainLib.sharing.export import write_onnx

    network, card = load_model(options.model)
    write = {"onnx": write_onnx, "monai": write_bundle}[options.format]
    difference = write((network, card), options.out).largest_difference
    values = {"out": options.out, "format": options.format, "model": card.name, "largest_difference": difference}
    return Answer(values, f"{card.name} in {options.out}; its logits differ from torch by at most {difference:.1g}")
