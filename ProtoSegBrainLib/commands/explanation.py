"""The commands that ask a result why: explain it at a place, see it change without some prototypes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.commands.console import Answer, brief, indented
from ProtoSegBrainLib.commands.flags import add_result_flags, prototype_numbers

if TYPE_CHECKING:
    from ProtoSegBrainLib.explanation.explain import Explanation


def add_prediction_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prediction", type=Path, required=True, metavar="DIR", help="folder with what segment wrote")
    parser.add_argument("--case-id", help="which case, where the folder holds several")


# -- explain -------------------------------------------------------------------------------------------------------


def add_explain_flags(parser: argparse.ArgumentParser) -> None:
    add_prediction_flags(parser)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--at", type=_three(float, "-12.5,30,4"), metavar="R,A,S", help="a place in mm: right, anterior, superior"
    )
    place.add_argument(
        "--voxel", type=_three(int, "120,88,70"), metavar="I,J,K", help="a voxel of the label map, counted from 0"
    )


def explain(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.explanation import explain as explaining
    from ProtoSegBrainLib.explanation.names import names_of
    from ProtoSegBrainLib.result.prediction_files import read_prediction

    prediction = read_prediction(options.prediction, options.case_id)
    if options.at is not None:
        explanation = explaining.explain(prediction, options.at)
    else:
        explanation = explaining.explain_voxel(prediction, options.voxel)
    return Answer(explanation.to_dict(), _explanation_table(explanation, names_of(prediction.evidence)))


def _explanation_table(explanation: Explanation, names: Mapping[int, str]) -> str:
    """The logits, and how they come about, largest contribution first."""
    r, a, s = explanation.position_mm
    where = "" if explanation.inside_brain else " (outside the brain)"
    lines = [f"{explanation.case_id} at R {r:.1f}, A {a:.1f}, S {s:.1f} mm: {explanation.class_name}{where}", ""]
    lines += ["class       probability    logit"]
    for name, logit in explanation.logits.items():
        lines.append(f"{name:10s} {explanation.probabilities[name]:11.1%} {logit:8.3f}")
    lines += [
        "",
        "A logit is its bias and the contributions of the prototypes of its class. A contribution is",
        "weight x similarity; the similarity falls with the distance, 0 being the same and 4 the opposite.",
        "",
        "class       no  contribution = weight x similarity  distance   looks like",
    ]
    lines += [f"{name:10s}   - {bias:13.3f}   bias" for name, bias in explanation.bias.items()]
    for entry in explanation.contributions:
        words = [names[entry.prototype]] if entry.prototype in names else []
        if entry.percentile is not None:
            words.append(f"closer than {entry.percentile:.0f}% of true {entry.class_name}")
        lines.append(
            f"{entry.class_name:10s} {entry.prototype:3d} {entry.contribution:13.3f} = {entry.weight:6.3f} x "
            f"{entry.similarity:10.3f} {entry.distance:9.3f}   {'; '.join(words)}"
        )
    return "\n".join(lines)


# -- whatif --------------------------------------------------------------------------------------------------------


def add_whatif_flags(parser: argparse.ArgumentParser) -> None:
    add_prediction_flags(parser)
    parser.add_argument(
        "--disable", type=prototype_numbers, default=(), metavar="P,P,...", help="prototypes to turn off"
    )
    parser.add_argument(
        "--weight", type=_factor, action="append", default=[], metavar="P=F", help="multiply a prototype's weight by F"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the changed result")
    add_result_flags(parser)


def whatif(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.explanation import whatif as asking
    from ProtoSegBrainLib.explanation.findings import findings
    from ProtoSegBrainLib.result.prediction_files import fill, read_prediction
    from ProtoSegBrainLib.result.writer import ENDINGS, Writer

    if not options.disable and not options.weight:
        raise ValueError("Say what to change: --disable 3,7 or --weight 4=0.5.")
    before = read_prediction(options.prediction, options.case_id)
    own = [options.prediction / f"{before.case_id}{ending}" for ending in ENDINGS.values()]
    with Writer(before.case_id, options.out, inputs=own) as writer:
        writer.check_older(overwrite=options.overwrite)
        after = asking.whatif(before, options.disable, dict(options.weight))
        after = replace(after, findings=findings(after))
        with writer.folder() as folder:
            files = {kind: options.out / path.name for kind, path in fill(folder, after, options.labels).items()}
    values = {**brief(after), "volumes_before_ml": before.volumes_ml, "labels": options.labels, "files": files}
    lines = [f"{after.case_id}: what if", "", "        before     after"]
    lines += [f"  {name:4s} {before.volumes_ml[name]:7.2f} {ml:9.2f} ml" for name, ml in after.volumes_ml.items()]
    lines += [f"Warning: {sentence}" for sentence in after.warnings]
    return Answer(
        values, "\n".join([*lines, "", f"Results in {options.out}:", indented(p.name for p in files.values())])
    )


# -- reading flags -------------------------------------------------------------------------------------------------


def _factor(text: str) -> tuple[int, float]:
    """A prototype and the factor of its weight, "4=0.5"."""
    try:
        index, factor = text.split("=")
        return int(index), float(factor)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected PROTOTYPE=FACTOR such as 4=0.5; got {text!r}") from error


def _three(kind: type, example: str) -> Callable[[str], tuple[Any, ...]]:
    """A reader of three numbers with commas between them."""

    def read(text: str) -> tuple[Any, ...]:
        try:
            x, y, z = (kind(part) for part in text.split(","))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected three numbers such as {example}; got {text!r}") from error
        return x, y, z

    return read
