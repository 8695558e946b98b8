"""The commands that train a network: train, and tune, which searches for how."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ProtoSegBrainLib.commands.console import Answer, progress_bar
from ProtoSegBrainLib.commands.flags import add_flags, add_labelled_data_flag, add_splits_flag, reading_of, with_flags

# -- train ---------------------------------------------------------------------------------------------------------


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.network.model import ModelConfig
    from ProtoSegBrainLib.training.configuration import network_names
    from ProtoSegBrainLib.training.recipe import TrainConfig

    add_labelled_data_flag(parser)
    add_splits_flag(parser)
    parser.add_argument("--fold", required=True, help="number of the fold that is held out, or all to hold out none")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: model, log, curves, checkpoints")
    what = f"the network and how it is trained: {', '.join(network_names())}, or a .yaml file; other flags change it"
    parser.add_argument("--network", "--preset", default="default", metavar="NAME", help=f"{what} (default: default)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    add_flags(parser, TrainConfig, skip={"model"})
    add_flags(parser.add_argument_group("model options, for our own networks"), ModelConfig, prefix="model.")


def train(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.model import ModelConfig
    from ProtoSegBrainLib.training.configuration import load_config
    from ProtoSegBrainLib.training.train import train as run_training

    config = load_config(options.network)
    if not isinstance(config.model, ModelConfig) and any(name.startswith("model.") for name in vars(options)):
        raise ValueError(f"--network {options.network}: the flags --model-... are for our own networks; write a .yaml.")
    config = with_flags(config, options)
    if not config.name and (network := Path(options.network).stem) != "default":
        config = replace(config, name=f"{network}-fold-{options.fold}")
    with progress_bar("Preparing") as on_progress:
        summary = run_training(
            config,
            options.data,
            options.splits,
            options.fold,
            options.out,
            resume=options.resume,
            on_progress=on_progress,
            reading=reading_of(options),
        )
    return Answer({"out": options.out, **summary})


# -- tune ----------------------------------------------------------------------------------------------------------


def add_tune_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.training.tuning import TuneConfig

    add_labelled_data_flag(parser)
    add_splits_flag(parser)
    parser.add_argument("--fold", required=True, help="number of the fold whose cases are held out and score a trial")
    parser.add_argument("--out", type=Path, required=True, help="folder of the search; a second run there goes on")
    what = "where to begin: a name (see info --network) or a .yaml file (default: default)"
    parser.add_argument("--network", default="default", metavar="NAME", help=what)
    add_flags(parser, TuneConfig)


def tune(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.training import tuning
    from ProtoSegBrainLib.training.configuration import load_config

    config = with_flags(tuning.TuneConfig(), options)
    place = tuning.Place(options.data, options.splits, options.fold, reading_of(options))
    with progress_bar("Preparing") as on_progress:
        found = tuning.tune(load_config(options.network), place, options.out, config, on_progress)
    lines = [
        f"{found['trials']} trials; mean Dice {found['first_dice']:.4f} at first, {found['best_dice']:.4f} at best.",
        *(f"  {name}: {value:g}" for name, value in found["best"].items()),
        f"Train with it: protosegbrain train --network {found['files']['best']} ...",
    ]
    return Answer({"out": options.out, **found}, "\n".join(lines))
