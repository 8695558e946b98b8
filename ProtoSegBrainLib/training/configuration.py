"""Training configurations as YAML: the networks this project names (``configs/``), files of one's own, and how to print
all of one.

A file holds only what differs from the defaults of the config dataclasses; its sections are their fields, so a new
field needs nothing here. ``model`` is a network of ours, or, where it names an ``architecture``, one from elsewhere.
"""

from __future__ import annotations

import difflib
import math
import os
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from ProtoSegBrainLib.training.recipe import TrainConfig

Config = TypeVar("Config")

CONFIGS = Path(__file__).parents[1] / "configs"
SUFFIXES = (".yaml", ".yml")
COMMENT_COLUMN = 36


def network_names() -> tuple[str, ...]:
    """What ``--network`` knows by name: the files in ``configs/``."""
    return tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml")))


def load_config(name_or_path: str | os.PathLike[str]) -> TrainConfig:
    """The configuration of that name, or in that YAML file; what the file leaves out has its default.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: No network has that name; or the file is no YAML, or holds an unknown key, a value of the wrong
            type or one that the config dataclass refuses. The message names the file and the key (``loss.dice``).
    """
    from ProtoSegBrainLib.training.recipe import TrainConfig

    path = _file_of(name_or_path)
    try:
        return config_from(_parsed(path), TrainConfig)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def config_from(content: Mapping[str, Any], config_class: type[Config], section: str = "") -> Config:
    """An instance of a config dataclass from plain values, as YAML or JSON give them.

    Args:
        content: Values by field name; nested dataclasses as mappings, tuples as lists.
        config_class: A dataclass whose fields are bool, int, float, str, Literal, tuples of them, optional, or
            dataclasses of such fields.
        section: Dotted path of ``content`` in the outermost mapping, for messages.

    Raises:
        ValueError: A key is unknown, or a value has the wrong type or is refused by the dataclass.
    """
    kinds = {field.name: get_type_hints(config_class)[field.name] for field in fields(config_class)}  # type: ignore[arg-type]
    values = {}
    for key, value in content.items():
        path = f"{section}.{key}" if section else str(key)
        if key not in kinds:
            raise ValueError(f"{path}: unknown key{_nearest(str(key), kinds)}; known here: {', '.join(kinds)}.")
        values[key] = _value(value, kinds[key], path)
    try:
        return config_class(**values)
    except ValueError as error:
        raise ValueError(f"{section}: {error}" if section else str(error)) from error


def to_yaml(config: Any) -> str:
    """All of a configuration, defaults included, each value with its help text; ``load_config`` reads it back."""
    return "\n".join(_lines(config)) + "\n"


def described(name_or_path: str | os.PathLike[str]) -> str:
    """A configuration to read: the comment at the head of its file, then all of its values."""
    config = load_config(name_or_path)
    comment = []
    for line in _file_of(name_or_path).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line)
    return "\n".join([*comment, to_yaml(config)])


# -- reading -------------------------------------------------------------------------------------------------------


def _file_of(name_or_path: str | os.PathLike[str]) -> Path:
    names, asked = network_names(), os.fspath(name_or_path)
    if asked in names:
        return CONFIGS / f"{asked}.yaml"
    if Path(asked).suffix not in SUFFIXES:
        raise ValueError(
            f"network: expected one of {', '.join(names)}, or a .yaml file; got {asked!r}{_nearest(asked, names)}."
        )
    if not Path(asked).is_file():
        raise FileNotFoundError(f"There is no configuration file {asked}.")
    return Path(asked)


def _parsed(path: Path) -> Mapping[str, Any]:
    """The file's values; an empty file, or one of comments, changes nothing.

    Raises:
        ValueError: It is no YAML, no mapping at the top, or names a key twice.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        root, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"expected YAML; {' '.join(str(error).split())}.") from error
    _refuse_repeated_keys(root)
    return _mapping(content, "the file")


def _refuse_repeated_keys(node: Any, section: str = "") -> None:
    """YAML keeps the last of two equal keys without a word, so half of a file would have no effect."""
    pairs = node.value if node is not None and node.id == "mapping" else []
    seen: dict[str, int] = {}
    for key, value in pairs:
        path, line = f"{section}{key.value}", key.start_mark.line + 1
        if path in seen:
            raise ValueError(f"{path}: given in line {seen[path]} and again in line {line}; keep one.")
        seen[path] = line
        _refuse_repeated_keys(value, f"{path}.")


def _mapping(content: Any, path: str) -> Mapping[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a section of keys and values; got {content!r}.")
    return content


def _value(value: Any, kind: Any, path: str) -> Any:
    """``value`` as the type of its field."""
    members = [kind]
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        members = [member for member in get_args(kind) if member is not type(None)]
    if all(is_dataclass(member) for member in members):
        content = _mapping(value, path)
        return config_from(content, _class_for(content, members), path)
    (kind,) = members
    if get_origin(kind) is tuple:
        return _tuple(value, get_args(kind), path)
    return _scalar(value, kind, path)


def _class_for(content: Mapping[str, Any], classes: list[type]) -> type:
    """Which of several dataclasses a section means: the one with ``architecture`` where that key is given."""
    has_key = {cls: "architecture" in {field.name for field in fields(cls)} for cls in classes}
    return next((cls for cls in classes if has_key[cls] == ("architecture" in content)), classes[0])


def _tuple(value: Any, members: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{path}: expected a list, as [1, 2]; got {value!r}.")
    kinds = [members[0]] * len(value) if Ellipsis in members else list(members)
    if len(kinds) != len(value):
        raise ValueError(f"{path}: expected a list of {len(kinds)}; got {value!r}.")
    return tuple(_scalar(v, kind, f"{path}[{n}]") for n, (v, kind) in enumerate(zip(value, kinds, strict=True)))


def _scalar(value: Any, kind: Any, path: str) -> Any:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{path}: expected one of {', '.join(map(str, get_args(kind)))}; got {value!r}.")
        return value
    if kind is float:
        return _number(value, path)
    names = {bool: "true or false", int: "a whole number", str: "a text"}
    if kind not in names:
        raise TypeError(f"The field {path} has type {kind}, which no YAML value becomes.")
    if type(value) is not kind:  # exactly: in Python true is a whole number, too
        raise ValueError(f"{path}: expected {names[kind]}; got {value!r}.")
    return value


def _number(value: Any, path: str) -> float:
    """YAML 1.1 takes 1e-4, without a point, for a text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path}: expected a number; got {value!r}.")
    return number


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


# -- writing -------------------------------------------------------------------------------------------------------


def _lines(config: Any, indent: str = "") -> list[str]:
    lines = []
    for field in fields(config):
        value, text = getattr(config, field.name), field.metadata.get("help", "")
        if is_dataclass(value):
            lines += [f"{indent}{field.name}:", *_lines(value, indent + "  ")]
        else:
            line = f"{indent}{field.name}: {_written(value)}"
            lines.append(f"{line:{COMMENT_COLUMN}}  # {text}" if text else line)
    return lines


def _written(value: Any) -> str:
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    inside_a_list: str = yaml.safe_dump([plain], default_flow_style=True, width=math.inf, allow_unicode=True)
    return inside_a_list.strip()[1:-1]
