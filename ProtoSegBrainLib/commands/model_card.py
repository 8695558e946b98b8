"""The card of a model as a person reads it: what it is for, how it decides, how good it is, where it comes from."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.labels import CLASSES, MODALITIES, MODALITY_NAMES, REGIONS, listed

if TYPE_CHECKING:
    from ProtoSegBrainLib.network.calibration import Calibration, Familiarity
    from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
    from ProtoSegBrainLib.network.weights import ModelCard

INDENT = 11
NARROWEST, WIDEST = 60, 120
LEAST_WORDS = 24
"""Characters for the words of a prototype: below, they get a line of their own."""


def card_text(network: SegmentationNet, card: ModelCard, path: Path, columns: int) -> str:
    """All of it, for a terminal of so many columns.

    Args:
        network: The model's.
        card: Its card.
        path: Where its weights lie.
        columns: Width of the terminal.
    """
    width = min(max(columns, NARROWEST), WIDEST) - 1
    parts = [
        _head(network, card, path, width),
        _prototypes(card, width),
        _scores(card.metrics),
        _unseen(card.calibration),
        _calibration(card.calibration, width),
        _training(card, width),
    ]
    return "\n\n".join("\n".join(lines) for lines in map(list, parts) if lines)


# -- what it is ----------------------------------------------------------------------------------------------------


def _head(network: SegmentationNet, card: ModelCard, path: Path, width: int) -> Iterator[str]:
    from ProtoSegBrainLib.network.networks import regions_of
    from ProtoSegBrainLib.network.weights import STATED
    from ProtoSegBrainLib.result.prediction import what_is_not_found

    finds = "necrotic or non-enhancing core (NCR), oedema (ED) and enhancing tumour (ET)"
    images = listed([MODALITY_NAMES[name] for name in MODALITIES])
    yield card.name
    yield ""
    yield from _entry("Use", STATED["intended_use"], width)
    yield from _entry("Finds", " ".join(what_is_not_found(card.name, regions_of(card.model))) or finds, width)
    yield from _entry("Input", f"{images} of one brain, skull-stripped; brought to 1 mm, z-scored in the brain", width)
    yield from _entry("Network", _network(network, card), width)
    yield from _entry("File", f"{path}, SHA-256 {card.identity[:12]}…", width)


def _network(network: SegmentationNet, card: ModelCard) -> str:
    from ProtoSegBrainLib.network.model import ModelConfig

    size = f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.2f} million weights"
    config = card.model
    if not isinstance(config, ModelConfig):
        return f"{config.architecture} with {_dashed(config.channels)} channels, no prototypes; {size}"
    levels = f"{config.backbone} with {_dashed(config.widths)} channels, {_dashed(config.blocks)} blocks"
    around = f"ASPP of rates {_dashed(config.aspp_rates)}"
    count = sum(config.prototypes_per_class)
    how = "log of the distance" if config.similarity == "log" else "cosine"
    head = f"{count} prototypes ({how}) every {config.prototype_stride} mm" if count else "a plain head, no prototypes"
    return f"{levels}, {around}; {head}; {size}"


def _prototypes(card: ModelCard, width: int) -> Iterator[str]:
    from ProtoSegBrainLib.explanation.names import prototype_name
    from ProtoSegBrainLib.network.evidence import no_prototypes
    from ProtoSegBrainLib.network.networks import has_prototypes

    if not card.prototypes:
        unknown = "The card has no records of its prototypes: they were never projected onto patches."
        yield unknown if has_prototypes(card.model) else no_prototypes(card.name)
        return
    longest = max(len("training case"), *(len(p.case_id) for p in card.prototypes))
    what = "Prototypes: patches of training cases; the share is what each gives to the evidence for its class"
    yield from textwrap.wrap(what, width)
    yield ""
    before = f"{'class':<11} {'no':>3} {'share':>6}  {'training case':<{longest}} {'right, front, up (mm)':>21}  "
    yield f"{before}looks like".rstrip()
    for p in sorted(card.prototypes, key=lambda p: (CLASSES.index(p.class_name), -(p.explained_share or 0), p.index)):
        share = "" if p.explained_share is None else f"{p.explained_share:.0%}"
        place = " ".join(f"{mm:6.1f}" for mm in p.position_mm)
        row = f"{p.class_name:<11} {p.index:>3} {share:>6}  {p.case_id:<{longest}} {place:>21}  "
        yield from _with_words(row, prototype_name(p), width)


def _with_words(row: str, words: str, width: int) -> Iterator[str]:
    """The words behind the row, or, where no room is left, below it."""
    if width - len(row) < LEAST_WORDS:
        yield row.rstrip()
        yield from textwrap.wrap(words, width, initial_indent=" " * 16, subsequent_indent=" " * 16)
        return
    first, *more = textwrap.wrap(words, width - len(row)) or [""]
    yield row + first
    yield from (" " * len(row) + line for line in more)


# -- how good it is ------------------------------------------------------------------------------------------------


def _scores(metrics: Mapping[str, Any]) -> Iterator[str]:
    dice = metrics.get("dice")
    if not dice:
        return
    cases = f"{metrics.get('n', '?')} {metrics.get('monitored', 'cases')}"
    yield f"Dice at the end of the training, mean of {cases}"
    yield ""
    yield "".join(f"{region:>9}" for region in REGIONS if region in dice)
    yield "".join(f"{dice[region]:9.3f}" for region in REGIONS if region in dice)


def _unseen(calibration: Calibration) -> Iterator[str]:
    if not calibration.reliability:
        yield "How it does on cases that it had not seen was not measured: no interval of a volume, no expected Dice."
        return
    yield "On cases that the models had not seen"
    yield ""
    yield "                 true volume        expected Dice   probability"
    yield "region   cases   over predicted     is off by       is off by"
    for known in calibration.reliability:
        factor = None if known.volume_quantile is None else math.exp(known.volume_quantile)
        volume = "not known" if factor is None else f"{1 / factor:.2f} to {factor:.2f} ({known.coverage:.0%})"
        error = "not known" if known.dice_error is None else f"{known.dice_error:.3f}"
        yield f"{known.region:<6} {known.n:>7}   {volume:<18} {error:<15} {known.ece:.3f}"


def _calibration(calibration: Calibration, width: int) -> Iterator[str]:
    yield "Calibration"
    yield ""
    if set(calibration.temperature) == {1.0}:
        yield from _entry("logits", "as the network gives them", width)
    else:
        by_class = listed([f"{t:.2f} ({name})" for t, name in zip(calibration.temperature, CLASSES, strict=True)])
        yield from _entry("logits", f"divided by {by_class} where that class leads, so that it is less sure", width)
    removed = [
        (calibration.minimum_component_ml, "separate parts of the tumour below {:g} ml become background"),
        (calibration.minimum_et_ml, "enhancing tumour of less than {:g} ml in all becomes necrosis"),
    ]
    rules = [words.format(ml) for ml, words in removed if ml > 0]
    yield from _entry("too small", "; ".join(rules) or "nothing is removed", width)
    yield from _entry("unlike", _familiarity(calibration.familiarity), width)


def _familiarity(known: Familiarity | None) -> str:
    if known is None or known.likeness is None:
        return "whether a scan is like the training data is not known"
    parts = [(known.look, "of its look"), (known.likeness, "of its likeness to the prototypes and of its tumour")]
    counts = [f"{len(normality.measures)} measures {words}" for normality, words in parts if normality is not None]
    return f"a scan is held against {known.n} cases that the models had not seen, by {listed(counts)}"


# -- where it comes from -------------------------------------------------------------------------------------------


def _training(card: ModelCard, width: int) -> Iterator[str]:
    record, metrics, config = card.training, card.metrics, card.training.get("config", {})
    if not record:
        yield "Training: not recorded."
        return
    yield "Training"
    yield ""
    cases, fold = len(record.get("cases", ())), record.get("fold")
    data = f"{cases} cases of {record.get('data', 'data not recorded')}"
    yield from _entry("data", f"{data}{f', fold {fold}' * (fold is not None)}, {record.get('date', 'undated')}", width)
    steps = [f"{metrics[name]:.0f} {name}" for name in ("steps", "minutes") if _is_number(metrics.get(name))]
    steps += [f"{name.replace('_', ' ')} {config[name]}" for name in ("optimiser", "batch_size") if name in config]
    yield from _entry("run", ", ".join([*steps, *_device(config)]) or "not recorded", width)
    start = config.get("start_from")
    if isinstance(start, Sequence) and start:
        yield from _entry("began as", start if isinstance(start, str) else listed([str(name) for name in start]), width)
    if record.get("pruning"):
        yield from _entry("pruned", f"{len(record['pruning'])} times", width)
    yield from _entry("cite", str(record.get("citation", "not recorded")), width)


def _device(config: Mapping[str, Any]) -> list[str]:
    return [f"on {config['device']}"] if config.get("device") else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


# -- lines ---------------------------------------------------------------------------------------------------------


def _entry(name: str, text: str, width: int) -> list[str]:
    """A name, and beside it a text of as many lines as it needs."""
    return textwrap.wrap(
        text, width, initial_indent=f"{name:<{INDENT}}", subsequent_indent=" " * INDENT, break_on_hyphens=False
    )


def _dashed(numbers: Sequence[int]) -> str:
    return "-".join(map(str, numbers))
