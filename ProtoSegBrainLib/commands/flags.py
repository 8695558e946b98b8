"""Flags: one for each field of a config dataclass, and back; and those that several commands have.

A field `tile: int | None` becomes `--tile INT`, `tta: bool` becomes `--tta/--no-tta`, `widths: tuple[int, ...]` becomes
`--widths INT INT ...`, `similarity: Literal["log", "cosine"]` takes one of both. A field that is a dataclass itself
gives a group of flags with its name in front: `--loss-dice`. The help text is the field's metadata "help".
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Collection
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ProtoSegBrainLib.labels import LABEL_CONVENTIONS

if TYPE_CHECKING:
    from ProtoSegBrainLib.images.study import Reading

Config = TypeVar("Config")


# -- of a config dataclass -----------------------------------------------------------------------------------------


def add_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    config_class: type,
    *,
    skip: Collection[str] = (),
    prefix: str = "",
) -> None:
    """Adds one flag per field. Flags that are not given leave no trace, so that they override nothing.

    Args:
        parser: Where to add them.
        config_class: A dataclass whose fields are bool, int, float, str, Path, Literal, tuples of them, optional, or
            dataclasses of such fields.
        skip: Names of fields that get no flag.
        prefix: Dotted path of `config_class` in the outermost config.

    Raises:
        TypeError: A field's type has no flag.
    """
    hints = get_type_hints(config_class)
    for field in fields(config_class):
        if field.name in skip:
            continue
        path, kind = prefix + field.name, _without_none(hints[field.name])
        if is_dataclass(kind):
            title = f"{path.replace('.', ' ')} options"
            add_flags(parser.add_argument_group(title), kind, prefix=f"{path}.")  # type: ignore[arg-type]
        else:
            flag = "--" + path.replace(".", "-").replace("_", "-")
            parser.add_argument(flag, dest=path, default=argparse.SUPPRESS, help=_help(field), **_parsing(kind, path))


def with_flags(config: Config, options: argparse.Namespace, prefix: str = "") -> Config:
    """A copy of `config` in which the flags that were given replace its values."""
    given = vars(options)
    changes: dict[str, Any] = {}
    for field in fields(config):  # type: ignore[arg-type]
        path, value = prefix + field.name, getattr(config, field.name)
        if is_dataclass(value):
            changes[field.name] = with_flags(value, options, f"{path}.")
        elif path in given:
            changes[field.name] = tuple(given[path]) if isinstance(given[path], list) else given[path]
    return replace(config, **changes)  # type: ignore[type-var]


def _parsing(kind: Any, path: str) -> dict[str, Any]:
    """What argparse must know to read a value of type `kind`."""
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if kind in (int, float, str, Path):
        return {"type": kind, "metavar": "FILE" if kind is Path else kind.__name__.upper()}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if get_origin(kind) is tuple and all(member in (int, float, str, Ellipsis) for member in get_args(kind)):
        member, *others = get_args(kind)
        return {
            "type": member,
            "metavar": member.__name__.upper(),
            "nargs": "*" if Ellipsis in others else 1 + len(others),
        }
    raise TypeError(f"The field {path} has type {kind}, for which there is no flag.")


def _without_none(kind: Any) -> Any:
    """`int` for `int | None`, anything else as it is."""
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [member for member in get_args(kind) if member is not type(None)]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def _help(field: Field[Any]) -> str:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    text = field.metadata.get("help", "")
    if shown not in (None, "", MISSING):
        text = f"{text} (default: {shown})"
    return text.strip().replace("%", "%%")


# -- of several commands -------------------------------------------------------------------------------------------


def add_model_flag(parser: argparse.ArgumentParser) -> None:
    """Which model to use."""
    parser.add_argument("--model", type=Path, help="weights, .safetensors (default: the bundled ones)")


def add_labelled_data_flag(parser: argparse.ArgumentParser) -> None:
    """Where the experts' labels come from."""
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder per case, labels included")
    add_reading_flags(parser)


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    """How cases with labels are read where their files leave it open."""
    what = "coding of the experts' labels (default: told by their values)"
    parser.add_argument("--labels", choices=tuple(LABEL_CONVENTIONS), help=what)
    add_geometry_flag(parser)


def add_geometry_flag(parser: argparse.ArgumentParser) -> None:
    """Which of two positions of an image holds."""
    what = "which position in a NIfTI header holds where the two differ (default: the sform where it is set)"
    parser.add_argument("--geometry", choices=("sform", "qform"), help=what)


def reading_of(options: argparse.Namespace) -> Reading:
    """What ``add_reading_flags`` asked for."""
    from ProtoSegBrainLib.images.study import Reading

    return Reading(labels=options.labels, geometry=options.geometry)


def add_splits_flag(parser: argparse.ArgumentParser) -> None:
    """Which cases a fold holds out."""
    parser.add_argument("--splits", type=Path, required=True, help='JSON file: {"folds": [[case ids], ...]}')


def add_result_flags(parser: argparse.ArgumentParser) -> None:
    """How the files of a result are written."""
    what = "coding in which labels are written (default: brats2020)"
    parser.add_argument("--labels", choices=tuple(LABEL_CONVENTIONS), default="brats2020", help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results of this case")


def prototype_numbers(text: str) -> tuple[int, ...]:
    """Numbers of prototypes, "3,7"."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected whole numbers such as 3,7; got {text!r}") from error
