"""What `--help` says of a config's values: their types, and the comments beside their defaults."""

import ast
import inspect
import io
import textwrap
import tokenize
from types import ModuleType

from ml_collections import ConfigDict
from ml_collections.config_flags import config_path

from mgm_jax import base_config, detect_config
from mgm_jax.bounds import CHOICES
from mgm_jax.config import flatten

_WIDTH, _INDENT = 110, 52


def describe(config: ConfigDict) -> str:
    """A line for each value: its flag with the recipe's value, its type, and its comment."""
    found = comments(config.task)
    lines = []
    for name, value in flatten(config):
        group = name.rpartition(".")[0]
        comment = found.get(name) or found.get(group, "")
        choices = [choice for choice in CHOICES.get(name, ()) if choice is not None]
        if not all(choice in comment for choice in choices):
            comment += f" One of {', '.join(choices)}."
        kind = config_path.get_type(name, config).__name__
        start = f"--config.{name}={'' if value is None else value}  {kind}"
        separator = "\n" + " " * _INDENT if len(start) > _INDENT - 2 and comment else ""
        wrapped = textwrap.wrap(comment, _WIDTH - _INDENT)
        text = ("\n" + " " * _INDENT).join(wrapped)
        lines.append(f"{start:{_INDENT}}{separator}{text}".rstrip())
    return "\n".join(lines)


def comments(task: str) -> dict[str, str]:
    """The comments of the functions that make the config of a task, by the name of the value."""
    found: dict[str, str] = {}
    for module in (base_config, detect_config) if task == "detect" else (base_config,):
        for function, name, comment in _commented_values(module):
            if function == "_base" or (function == "pretrain") == (task == "pretrain"):
                found[name] = comment
    return found


def _commented_values(module: ModuleType) -> list[tuple[str, str, str]]:
    """Function, name and comment of each `config.NAME = ...`: beside it, or on the lines above."""
    source = inspect.getsource(module)
    beside, above = _comments(source)
    found = []
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Assign):
                continue
            target, line = ast.unparse(node.targets[0]), node.lineno - 1
            text = [beside.get(node.end_lineno or node.lineno, "")]
            while line in above:
                text.insert(0, above[line])
                line -= 1
            comment = " ".join(filter(None, text))
            if target.startswith("config.") and comment:
                found.append((function.name, target.removeprefix("config."), comment))
    return found


def _comments(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """The comments of a file by line: those beside code, and those on lines of their own."""
    beside: dict[int, str] = {}
    above: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            own_line = not token.line[: token.start[1]].strip()
            (above if own_line else beside)[token.start[0]] = token.string.lstrip("# ")
    return beside, above
