"""Configs from the command line: `--config=NAME_OR_PATH` and `--config.field=value`, checked by name and type."""

from __future__ import annotations

import ast
import json
import re
import runpy
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from relope_jax.errors import ReLopeError, line_of, nearest, one_line
from relope_jax.io.paths import local_path

CONFIG_FOLDER = Path(__file__).parent.parent / "experiments" / "configs"
NAMES = (
    CONFIG_FOLDER / "names.json"
)  # {name: "FILE:ARGUMENT"}: further names, for `get_config(ARGUMENT)` of a file there
_ARGUMENTS: list[str] = []  # the command line as `parse_flags` resolved it: ml_collections looks for overrides there
_OVERRIDE = re.compile(r"^--?config\.([^=]+)(?:=(.*))?$", re.DOTALL)


def define_config_flag() -> Any:
    """Define `--config`; `parse_flags` must parse the command line (pass it to `app.run`)."""
    return config_flags.DEFINE_config_file(
        "config", None, "config file, by path or by name", lock_config=True, sys_argv=_ARGUMENTS
    )


def parse_flags(argv: list[str]) -> list[str]:
    """Parse flags with absl, after finding the config by path or name and checking every override.

    Exits with a one-line error for a missing config, an unknown field, or a wrong type.
    """
    try:
        argv = _join_values(argv)
        resolved = [_resolve(argument) for argument in argv]
        path = next((a.split("=", 1)[1] for a in resolved if a.startswith("--config=")), None)
        if path is None and "--help" not in argv and "-h" not in argv and "--helpfull" not in argv:
            raise ReLopeError(f"name a config with --config=...; there are: {', '.join(config_names())}")
        if path is not None:
            defaults = load_defaults(path)
            resolved = [spell_out(defaults, argument) for argument in resolved]
            for argument in resolved:
                check_override(defaults, argument)
        _ARGUMENTS[:] = resolved
        remaining = flags.FLAGS(resolved)
    except (ReLopeError, flags.Error) as error:
        raise SystemExit(f"error: {one_line(error)}") from error
    except OSError as error:  # a config that may not be read
        if line := line_of(error):
            raise SystemExit(f"error: {one_line(line)}") from error
        raise
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # orbax logs every file it touches
    return remaining


def config_names() -> list[str]:
    """Names of the configs in experiments/configs."""
    return sorted([*(path.name for path in CONFIG_FOLDER.glob("[!_]*.py")), *_further_names()])


def find_config(name: str) -> str:
    """Find a config by path, else by name (with or without .py) in experiments/configs: `PATH` or `PATH:ARGUMENT`."""
    for path in (local_path(name), CONFIG_FOLDER / name, CONFIG_FOLDER / f"{name}.py"):
        if path.is_file():
            return str(path)
    further = _further_names()
    for spelled in (name, f"{name}.py"):
        if spelled in further:
            return str(CONFIG_FOLDER / further[spelled])
    raise ReLopeError(f"no config '{name}'{nearest(name, config_names())}; there are: {', '.join(config_names())}")


def _further_names() -> dict[str, str]:
    names: dict[str, str] = json.loads(NAMES.read_text(encoding="utf-8")) if NAMES.exists() else {}
    return names


def load_defaults(config: str) -> ConfigDict:
    """The config that `PATH` or `PATH:ARGUMENT` returns before overrides."""
    path, _, argument = config.partition(":")
    module = runpy.run_path(path)
    if "get_config" not in module:
        raise ReLopeError(f"{path} is not a config: it defines no get_config()")
    return module["get_config"](argument) if argument else module["get_config"]()


def spell_out(defaults: ConfigDict, argument: str) -> str:
    """`--config.model=NAME` as `--config.model.name=NAME`, and `--config.datasets=a,b` as a tuple of strings."""
    match = _OVERRIDE.match(argument)
    field = match and _field(defaults, match[1])
    if match is None or match[2] is None or field is None:
        return argument
    if isinstance(field, ConfigDict) and "name" in field:
        return f"--config.{match[1]}.name={match[2]}"
    if isinstance(field, tuple) and all(isinstance(value, str) for value in field) and not _is_literal(match[2]):
        return f"--config.{match[1]}={tuple(piece.strip() for piece in match[2].split(',') if piece.strip())}"
    return argument


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True


def _field(defaults: ConfigDict, path: str) -> Any:
    """The value at `path` in the config, or None."""
    current: Any = defaults
    for name in path.split("."):
        if not isinstance(current, ConfigDict) or name not in current:
            return None
        current = current[name]
    return current


def check_override(defaults: ConfigDict, argument: str) -> None:
    """Raise ReLopeError when `--config.field=value` names an unknown field or has the wrong type."""
    match = _OVERRIDE.match(argument)
    if not match:
        return
    path, value = match.groups()
    current: Any = defaults
    for depth, field in enumerate(path.split(".")):
        if not isinstance(current, ConfigDict) or field not in current:
            known = _leaves(defaults)
            raise ReLopeError(f"unknown field config.{path}{nearest(path, known) or _siblings(current, depth)}")
        current = current[field]
    if isinstance(current, ConfigDict):
        raise ReLopeError(f"config.{path} is a group; set one of its fields: {', '.join(current)}")
    if not _fits(current, value or ""):
        example = "(1, 2)" if current == () else repr(current)
        raise ReLopeError(f"config.{path} takes {_kind(current)} like {example}, not '{value}'")


def _resolve(argument: str) -> str:
    if argument.startswith(("--config=", "-config=")):
        return f"--config={find_config(argument.split('=', 1)[1])}"
    return argument


def _join_values(argv: list[str]) -> list[str]:
    """`--config NAME` as `--config=NAME`, and the same for overrides."""
    joined: list[str] = []
    takes_value = False
    for argument in argv:
        if takes_value:
            joined[-1] += f"={argument}"
            takes_value = False
        else:
            joined.append(argument)
            takes_value = bool(re.match(r"^--?config(\.[^=]+)?$", argument))
    return joined


def _leaves(config: ConfigDict, prefix: str = "") -> list[str]:
    names = []
    for key, value in config.items():
        names += _leaves(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [f"{prefix}{key}"]
    return names


def _siblings(group: Any, depth: int) -> str:
    if not isinstance(group, ConfigDict):
        return ""
    return f"; fields {'there' if depth else 'at the top'}: {', '.join(group)}"


def _fits(current: Any, text: str) -> bool:
    if isinstance(current, str):
        return True
    if isinstance(current, bool):
        return text.lower() in {"true", "false"}
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    if isinstance(current, tuple):
        return isinstance(value, tuple) and all(isinstance(v, type(current[0])) for v in value if current)
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(current, float) and isinstance(value, float))


def _kind(current: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", tuple: "a tuple"}
    return names.get(type(current), "text")
