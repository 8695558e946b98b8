"""Records from plain values: dataclasses from what JSON or YAML gives, strictly; what is wrong is named by its place.

The schema of a file is the dataclass itself: its fields and their types. ``by_hand`` reads what a person wrote: what is
left out has its default. ``stored`` reads what a program wrote: nothing may be missing but what older versions did not
have, which is said at the field: ``field(metadata={"older": value})``.
"""

from __future__ import annotations

import copy
import difflib
import functools
import json
import math
import os
import reprlib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

SHOWN_CHARACTERS, REASON_CHARACTERS = 60, 300
"""Most of a wrong value, and of what a dataclass says of one, in a message."""
NAMES = {bool: "true or false", int: "a whole number", str: "a text"}


def by_hand(content: Any, kind: Any, path: str = "") -> Any:
    """``content`` as the type ``kind``; a field that is left out has its default, a number may be a text as 1e-4.

    Args:
        content: Plain values; dataclasses as mappings by field name, tuples as lists.
        kind: bool, int, float, str, Any, Literal, a dataclass, tuples of them, mappings from text to them, or a union
            with None or of dataclasses.
        path: Dotted place of ``content`` in the file, for messages.

    Raises:
        ValueError: A key is unknown or missing, or a value has the wrong type or is refused by its dataclass. The
            message begins with the place: ``look.measures[3]: expected a text; got [1, 2]``.
    """
    return _value(content, kind, path, _Rules(_default, _number_or_text, empty={}))


def stored(content: Any, kind: Any, path: str = "") -> Any:
    """As ``by_hand``, for what a program wrote: a missing field is refused unless it is younger than the format."""
    return _value(content, kind, path, _Rules(_older, _number, empty=None))


def read_json(path: str | os.PathLike[str]) -> Any:
    """The plain values in a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no JSON; the message does not name the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"expected JSON in UTF-8; byte {error.start} is none") from error
    except RecursionError as error:
        raise ValueError("expected JSON; it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"expected JSON; {error}") from error


def require(condition: bool, message: str) -> None:
    """Raise ValueError with this message unless the condition holds; for ``__post_init__`` of what is read here."""
    if not condition:
        raise ValueError(message)


# -- what differs between the two ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rules:
    """How to read.

    Attributes:
        absent: The value of a field that is not there, or MISSING.
        number: A float from a value; NaN of what is none.
        empty: What a section without any content is.
    """

    absent: Callable[[Field[Any]], Any]
    number: Callable[[Any], float]
    empty: dict[str, Any] | None


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _older(field: Field[Any]) -> Any:
    return copy.copy(field.metadata["older"]) if "older" in field.metadata else MISSING


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _number_or_text(value: Any) -> float:
    """YAML 1.1 takes 1e-4, without a point, for a text."""
    return float(value) if type(value) is str else _number(value)


# -- reading -------------------------------------------------------------------------------------------------------


def _value(value: Any, kind: Any, path: str, rules: _Rules) -> Any:
    if kind is float or kind in NAMES:
        return _scalar(value, kind, path, rules)
    members = [kind]
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        members = [member for member in get_args(kind) if member is not type(None)]
    if all(is_dataclass(member) for member in members):
        content = _mapping(rules.empty if value is None else value, path)
        return _record(content, _class_for(content, members), path, rules)
    (kind,) = members
    if get_origin(kind) is tuple:
        return _tuple(value, get_args(kind), path, rules)
    if get_origin(kind) is dict:
        _, member = get_args(kind)
        return {key: _value(v, member, _below(path, key), rules) for key, v in _mapping(value, path).items()}
    return value if kind is Any else _scalar(value, kind, path, rules)


def _record(content: Mapping[str, Any], record_class: type, path: str, rules: _Rules) -> Any:
    kinds = _kinds(record_class)
    for key in content:
        if key not in kinds:
            raise ValueError(
                f"{_below(path, key)}: unknown key{nearest(str(key), kinds)}; known here: {', '.join(kinds)}."
            )
    values, missing = {}, []
    for field in fields(record_class):
        if field.name in content:
            values[field.name] = _value(content[field.name], kinds[field.name], _below(path, field.name), rules)
        elif (absent := rules.absent(field)) is MISSING:
            missing.append(field.name)
        else:
            values[field.name] = absent
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing." if path else f"{', '.join(missing)} missing.")
    try:
        return record_class(**values)
    except ValueError as error:
        reason = _cut(str(error), REASON_CHARACTERS)
        raise ValueError(f"{path}: {reason}" if path else reason) from error


@functools.cache
def _kinds(record_class: type) -> dict[str, Any]:
    """Type by field name."""
    hints = get_type_hints(record_class)
    return {field.name: hints[field.name] for field in fields(record_class)}


def _class_for(content: Mapping[str, Any], classes: list[type]) -> type:
    """Which of several dataclasses a section means: the one with ``architecture`` where that key is given."""
    has_key = {cls: "architecture" in {field.name for field in fields(cls)} for cls in classes}
    return next((cls for cls in classes if has_key[cls] == ("architecture" in content)), classes[0])


def _mapping(content: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{path or 'the file'}: expected a section of keys and values; got {shown(content)}.")
    return content


def _tuple(value: Any, members: tuple[Any, ...], path: str, rules: _Rules) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{path}: expected a list, as [1, 2]; got {shown(value)}.")
    if members == (float, ...) and all(type(v) is float for v in value) and math.isfinite(sum(value)):
        return tuple(value)  # the most of a card are rows of numbers
    kinds = [members[0]] * len(value) if Ellipsis in members else list(members)
    if len(kinds) != len(value):
        raise ValueError(f"{path}: expected a list of {len(kinds)}; got {shown(value)}.")
    return tuple(_value(v, kind, f"{path}[{n}]", rules) for n, (v, kind) in enumerate(zip(value, kinds, strict=True)))


def _scalar(value: Any, kind: Any, path: str, rules: _Rules) -> Any:
    if get_origin(kind) is Literal:
        if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in get_args(kind)):
            raise ValueError(f"{path}: expected one of {', '.join(map(str, get_args(kind)))}; got {shown(value)}.")
        return value
    if kind is float:
        return _finite(value, path, rules)
    if kind not in NAMES:
        raise TypeError(f"The field {path} has type {kind}, which no plain value becomes.")
    if type(value) is not kind:  # exactly: in Python true is a whole number, too
        raise ValueError(f"{path}: expected {NAMES[kind]}; got {shown(value)}.")
    return value


def _finite(value: Any, path: str, rules: _Rules) -> float:
    try:
        number = rules.number(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path}: expected a number; got {shown(value)}.")
    return number


# -- words ---------------------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """A wrong value as a message shows it: cut where it is long."""
    return _cut(reprlib.repr(value), SHOWN_CHARACTERS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that may have been meant, in brackets; "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
