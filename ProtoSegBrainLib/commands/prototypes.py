"""The commands on a model's prototypes: measure them, show them, test what they explain, remove some."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.commands.console import Answer, indented, progress_bar
from ProtoSegBrainLib.commands.flags import (
    add_flags,
    add_labelled_data_flag,
    add_model_flag,
    add_reading_flags,
    prototype_numbers,
    reading_of,
    with_flags,
)
from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.progress import Progress, part_of

if TYPE_CHECKING:
    from ProtoSegBrainLib.explanation.patch import Patch
    from ProtoSegBrainLib.network.model import ProtoSegNet
    from ProtoSegBrainLib.network.weights import ModelCard
    from ProtoSegBrainLib.patches.cases import TrainingCase


# -- portray and cards ---------------------------------------------------------------------------------------------


def add_portray_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="weights, .safetensors; its card is rewritten")
    parser.add_argument("--data", type=Path, required=True, help="folder with the model's training cases")
    add_reading_flags(parser)
    _add_cache_flag(parser)


def portray(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.explanation import portrait
    from ProtoSegBrainLib.explanation.names import prototype_name
    from ProtoSegBrainLib.network.weights import describe_prototypes
    from ProtoSegBrainLib.patches.cases import prepare_data

    network, card = _model_with_prototypes(options.model)
    case_ids = card.training.get("cases", [])
    if not card.prototypes or not case_ids:
        raise ValueError(f"The card of {options.model} does not say which training cases its prototypes come from.")
    with progress_bar("Preparing") as on_progress, _cache_folder(options.cache) as cache:
        preparing = part_of(on_progress, 0.0, 0.2)
        cases = prepare_data(options.data, case_ids, cache, on_progress=preparing, reading=reading_of(options))
        prototypes = portrait.portray(network, cases, card.prototypes, part_of(on_progress, 0.2, 1.0))
    describe_prototypes(options.model, prototypes)
    names = {p.index: prototype_name(p) for p in prototypes}
    values = {"model": options.model, "cases": len(case_ids), "prototypes": [asdict(p) for p in prototypes]}
    return Answer(values, indented(f"{index:3d}  {name}" for index, name in names.items()))


def add_cards_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder for the page")
    add_model_flag(parser)
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--data", type=Path, help="folder with training cases: show the real patches")
    images.add_argument("--simulated", action="store_true", help="show the most similar patches of simulated cases")
    add_reading_flags(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace a page that is there")


def cards(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.explanation.names import prototype_name
    from ProtoSegBrainLib.network.weights import evidence_of
    from ProtoSegBrainLib.pictures.cards import page_file, write_cards

    page_file(options.out, overwrite=options.overwrite)
    network, card = _model_with_prototypes(options.model)
    evidence = evidence_of(network, card)
    with progress_bar("Looking for patches") as on_progress:
        patches = _patches(options, network, card, on_progress)
    page = write_cards(evidence, options.out, card.name, patches, overwrite=options.overwrite)
    known = [{"index": p.index, "class": p.class_name, "name": prototype_name(p)} for p in card.prototypes]
    values = {"page": page, "prototypes": known, "patches": len(patches)}
    return Answer(values, f"{len(known)} cards, {len(patches)} with images, in {page}")


def _patches(
    options: argparse.Namespace, network: ProtoSegNet, card: ModelCard, on_progress: Progress
) -> tuple[Patch, ...]:
    """Images for the cards: the prototypes' own where their cases are in --data, or simulated ones."""
    from ProtoSegBrainLib.explanation.patch import own_patches, simulated_patches

    if options.simulated:
        return simulated_patches(network, _simulated_cases(on_progress), card.prototypes)
    if options.data is None:
        return ()
    return own_patches(network, _cases_of(card, options, on_progress), card.prototypes)


def _cases_of(card: ModelCard, options: argparse.Namespace, on_progress: Progress) -> Iterator[TrainingCase]:
    """Those cases of the prototypes that the folder holds, one after the other."""
    from ProtoSegBrainLib.images.case import read_case
    from ProtoSegBrainLib.images.folders import list_cases
    from ProtoSegBrainLib.patches.cases import in_memory

    wanted = {prototype.case_id for prototype in card.prototypes}
    cases = [case for case in list_cases(options.data) if case.case_id in wanted]
    if not cases:
        raise FileNotFoundError(f"{options.data} holds none of the cases that the prototypes of {card.name} come from.")
    for number, case in enumerate(cases):
        on_progress(number / len(cases), f"Looking at {case.case_id}")
        yield in_memory(read_case(case, reading=reading_of(options)))


def _simulated_cases(on_progress: Progress) -> Iterator[TrainingCase]:
    from ProtoSegBrainLib.patches.cases import in_memory
    from ProtoSegBrainLib.simulation.simulate import SimulationConfig, simulate_case

    kinds = [SimulationConfig("high_grade")] * 3 + [SimulationConfig("low_grade")]
    for number, kind in enumerate(kinds):
        on_progress(number / len(kinds), "Looking at simulated cases")
        yield in_memory(simulate_case(number + 1, config=kind))


# -- faithfulness --------------------------------------------------------------------------------------------------


def add_faithfulness_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.explanation.faithfulness import FaithfulnessConfig

    add_labelled_data_flag(parser)
    add_model_flag(parser)
    parser.add_argument("--splits", type=Path, help="splits file; with --fold, only the held-out cases are used")
    parser.add_argument("--fold", help="number of the fold that the model has not seen")
    _add_cache_flag(parser)
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the measures; an older one is replaced")
    add_flags(parser, FaithfulnessConfig)


def faithfulness(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.explanation import faithfulness as measuring
    from ProtoSegBrainLib.patches.cases import prepare_data

    measuring.check_output(options.out)
    config = with_flags(measuring.FaithfulnessConfig(), options)
    network, card = _model_with_prototypes(options.model)
    case_ids, selection = _labelled_cases(options)
    with progress_bar("Preparing") as on_progress, _cache_folder(options.cache) as cache:
        preparing = part_of(on_progress, 0.0, 0.05)
        cases = prepare_data(options.data, case_ids, cache, on_progress=preparing, reading=reading_of(options))
        started = time.perf_counter()
        table = measuring.measure((network, card), cases, config, part_of(on_progress, 0.05, 1.0))
    about = {
        "model": {"name": card.name, "identity": card.identity},
        "selection": selection,
        "cases": case_ids,
        "seen_in_training": len({*case_ids} & {*card.training.get("cases", ())}),
        "config": asdict(config),
        "seconds_per_case": round((time.perf_counter() - started) / len(case_ids), 1),
    }
    measuring.write_measures(options.out, about, table)
    return Answer({"out": options.out, **about, **table}, _measure_table(about, table))


def _labelled_cases(options: argparse.Namespace) -> tuple[list[str], str]:
    """The cases to measure on, and in words which they are."""
    from ProtoSegBrainLib.images.folders import list_cases
    from ProtoSegBrainLib.training.train import read_split

    if (options.splits is None) != (options.fold is None):
        raise ValueError("Give --splits and --fold together, to use the held-out cases, or neither, to use all.")
    if options.splits is None:
        cases = [case.case_id for case in list_cases(options.data) if case.label or case.label_fault]
        return cases, f"all cases of {options.data.name}"
    _, held_out = read_split(options.splits, options.fold)
    if not held_out:
        raise ValueError(f"--fold {options.fold} holds out no case; name one of the folds of {options.splits}.")
    return held_out, f"held-out cases of fold {options.fold} of {options.splits.name}"


def _measure_table(about: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]]) -> str:
    seen = about["seen_in_training"]
    lines = [f"{about['model']['name']}, {len(about['cases'])} cases ({about['selection']})"]
    if seen:
        lines.append(f"The model was trained on {seen} of them: these figures flatter it.")
    lines += ["", f"{'':34s}    mean  median      sd     n"]
    for key, entry in table.items():
        numbers = (entry.get(name) for name in ("mean", "median", "sd"))
        shown = "".join("       -" if number is None else f"{number:8.3f}" for number in numbers)
        lines.append(f"{key:34s}{shown} {entry['n']:5d} {entry['of']}")
    return "\n".join(lines)


# -- prune ---------------------------------------------------------------------------------------------------------


def add_prune_flags(parser: argparse.ArgumentParser) -> None:
    add_model_flag(parser)
    parser.add_argument(
        "--disable", type=prototype_numbers, required=True, metavar="P,P,...", help="prototypes to remove"
    )
    add_labelled_data_flag(parser)
    parser.add_argument("--splits", type=Path, help="the splits file of the training (default: the card's cases)")
    parser.add_argument("--fold", default="all", help="number of the fold that is held out (default: all, none is)")
    _add_cache_flag(parser)
    parser.add_argument("--out", type=Path, required=True, help="the new model, FILE.safetensors")


def prune(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.weights import save_model
    from ProtoSegBrainLib.patches.cases import prepare_data
    from ProtoSegBrainLib.training import pruning
    from ProtoSegBrainLib.training.train import read_split
    from ProtoSegBrainLib.training.validation import mean_dice

    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out: expected a name ending in .safetensors, got {options.out}.")
    check_folder(options.out.parent)
    for path in (options.out, options.out.with_suffix(".json")):
        if path.exists():
            raise FileExistsError(f"{path} is there already; name a file that is not.")
    network, card = _model_with_prototypes(options.model)
    pruning.without_prototypes(network, options.disable)  # refuses what cannot be done before the work begins
    train_ids: list[str] = card.training.get("cases", [])
    held_out_ids: list[str] = []
    if options.splits:
        train_ids, held_out_ids = read_split(options.splits, options.fold)
    if not train_ids:
        raise ValueError(f"The card of {card.name} lists no training cases; give --splits and --fold.")
    with progress_bar("Preparing") as on_progress, _cache_folder(options.cache) as cache:
        preparing, reading = part_of(on_progress, 0.0, 0.2), reading_of(options)
        cases = prepare_data(options.data, train_ids, cache, on_progress=preparing, reading=reading)
        held_out = prepare_data(options.data, held_out_ids, cache, reading=reading)
        pruned, new_card = pruning.prune(network, card, options.disable, cases, part_of(on_progress, 0.2, 0.9))
        on_progress(0.9, "Scoring")
        dice = {"before": mean_dice(network, held_out), "after": mean_dice(pruned, held_out)} if held_out else None
    new_card = save_model(options.out, pruned, replace(new_card, metrics={**new_card.metrics, "held_out_dice": dice}))
    counts = dict(zip(CLASSES, pruned.config.prototypes_per_class, strict=True))
    values = {"model": options.out, "identity": new_card.identity, "prototypes": counts, "held_out_dice": dice}
    return Answer(values)


# -- models and prepared cases -------------------------------------------------------------------------------------


def _model_with_prototypes(path: Path | None) -> tuple[ProtoSegNet, ModelCard]:
    """The model to ask.

    Raises:
        ValueError: It has no prototypes.
    """
    from ProtoSegBrainLib.network.evidence import no_prototypes
    from ProtoSegBrainLib.network.model import ProtoSegNet
    from ProtoSegBrainLib.network.weights import load_model

    network, card = load_model(path)
    if not isinstance(network, ProtoSegNet):
        raise ValueError(no_prototypes(card.name))
    return network, card


def _add_cache_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, help="folder for prepared cases (default: a temporary one)")


@contextlib.contextmanager
def _cache_folder(given: Path | None) -> Iterator[Path]:
    """The folder given, which stays, or a temporary one."""
    if given is not None:
        check_folder(given)
        yield given
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows: the files may still be mapped
        yield Path(folder)
