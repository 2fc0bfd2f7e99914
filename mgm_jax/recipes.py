"""The recipes that come with the project, by name: `ssv2_pretrain` or `ssv2_pretrain:mask=smm`."""

import ast
import difflib
import inspect
import pathlib
import runpy

from ml_collections import ConfigDict

from mgm_jax.config import flatten
from mgm_jax.errors import ConfigError

_PACKAGE = pathlib.Path(__file__).resolve().parent


def folder() -> pathlib.Path:
    """Where the recipes are: inside the package if it is installed, beside it in a checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def names() -> list[str]:
    """The names of the recipes."""
    return sorted(file.stem for file in folder().glob("[!_]*.py"))


def summary(name: str) -> str:
    """The first line of a recipe's text."""
    text = ast.get_docstring(ast.parse((folder() / f"{name}.py").read_text())) or ""
    return text.partition("\n")[0]


def find(recipe: str) -> str:
    """The file of a recipe, and its argument after a colon if there is one.

    A name without a folder is that of a file there, or of a recipe of this project.

    Raises:
        ConfigError: There is none; names the nearest.
    """
    path, colon, argument = recipe.partition(":")
    name = path.removesuffix(".py")
    if not pathlib.Path(path).is_file():
        if name not in names():
            raise ConfigError(f"--config={recipe}: no file {path}, and {_hint(path)}")
        path = str(folder() / f"{name}.py")
    return f"{path}{colon}{argument}"


def _hint(path: str) -> str:
    """What a recipe that there is not might have been meant to be."""
    place, stem = pathlib.Path(path).parent, pathlib.Path(path).stem
    beside = [] if place == pathlib.Path() else [file.stem for file in place.glob("[!_]*.py")]
    for known, prefix, suffix in ((beside, f"{place}/", ".py"), (names(), "", "")):
        near = difflib.get_close_matches(stem, known, n=1)
        if near:
            return f"no recipe of this name; did you mean --config={prefix}{near[0]}{suffix}?"
    return f"no recipe of this name; there are {', '.join(names())}"


def load(recipe: str) -> ConfigDict:
    """The config of a recipe, by its name or its file.

    Raises:
        ConfigError: There is no such recipe, it is none, or it does not have this argument.
    """
    path, _, argument = find(recipe).partition(":")
    get_config = runpy.run_path(path).get("get_config")
    if get_config is None:
        raise ConfigError(f"--config={recipe}: {path} has no function get_config; is it a recipe?")
    if argument and not inspect.signature(get_config).parameters:
        raise ConfigError(f"--config={recipe}: this recipe takes no argument")
    try:
        return get_config(argument) if argument else get_config()
    except ConfigError as error:
        raise ConfigError(f"--config={recipe}: {error}") from error


def check_name(recipe: str, config: ConfigDict, name: str) -> None:
    """Refuses `--config.NAME` for a value that the recipe's config does not have.

    Raises:
        ConfigError: Names the flag and the value that was probably meant.
    """
    known = [value for value, _ in flatten(config)]
    if name in known:
        return
    near = max(known, key=lambda value: _likeness(name, value))
    hint = f"python -m mgm_jax.main --config={recipe} --help lists them"
    if _likeness(name, near) >= 0.6:
        hint = f"did you mean --config.{near}?"
    raise ConfigError(f"--config.{name}: {recipe} has no such value; {hint}")


def _likeness(typed: str, known: str) -> float:
    """From 0 to 1; nearly 1 if only the group is missing or another."""
    leaf, known_leaf = (name.rpartition(".")[2] for name in (typed, known))
    whole = difflib.SequenceMatcher(None, typed, known).ratio()
    return max(whole, 0.95 * difflib.SequenceMatcher(None, leaf, known_leaf).ratio() + 0.01 * whole)
