"""Training configurations as YAML: the networks this project names (``configs/``), files of one's own, and how to print
all of one.

A file holds only what differs from the defaults of the config dataclasses; its sections are their fields, so a new
field needs nothing here. ``model`` is a network of ours, or, where it names an ``architecture``, one from elsewhere.
"""

from __future__ import annotations

import math
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.records import by_hand, nearest

if TYPE_CHECKING:
    from ProtoSegBrainLib.training.recipe import TrainConfig

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
        config: TrainConfig = by_hand(_parsed(path), TrainConfig)
        return config
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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
            f"network: expected one of {', '.join(names)}, or a .yaml file; got {asked!r}{nearest(asked, names)}."
        )
    if not Path(asked).is_file():
        raise FileNotFoundError(f"There is no configuration file {asked}.")
    return Path(asked)


def _parsed(path: Path) -> Any:
    """The file's values; an empty file, or one of comments, changes nothing.

    Raises:
        ValueError: It is no YAML, or names a key twice.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        root, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except RecursionError as error:
        raise ValueError("expected YAML; it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"expected YAML; {' '.join(str(error).split())}.") from error
    _refuse_repeated_keys(root, "", set())
    return {} if content is None else content


def _refuse_repeated_keys(node: Any, section: str, known: set[int]) -> None:
    """YAML keeps the last of two equal keys without a word, so half of a file would have no effect.

    A section that is named again (``*anchor``) is looked at once: it may even lie in itself.
    """
    if node is None or node.id != "mapping" or id(node) in known:
        return
    known.add(id(node))
    seen: dict[str, int] = {}
    for key, value in node.value:
        path, line = f"{section}{key.value}", key.start_mark.line + 1
        if path in seen:
            raise ValueError(f"{path}: given in line {seen[path]} and again in line {line}; keep one.")
        seen[path] = line
        _refuse_repeated_keys(value, f"{path}.", known)


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
