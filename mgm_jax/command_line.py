"""The command line of every command: its recipe and flags, what is misspelt, and `--help`."""

import re
import signal
import sys
import textwrap
from collections.abc import Sequence

from absl import flags

from mgm_jax import config_help, recipes
from mgm_jax.errors import ConfigError


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """Parses a command line for `app.run`; an error, or `--help`, ends the program with text.

    Without arguments where some are needed, the text is that at the head of the command's module.
    """
    program, *given = arguments
    usage = sys.modules["__main__"].__doc__ or ""
    try:
        if {"--help", "-help", "-h"} & set(given):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head` is no error.
            print(f"{usage}\n{help_text(given)}")
            sys.exit(0)
        return flags.FLAGS([program, *check_arguments(given)])
    except (ConfigError, flags.Error) as error:
        sys.exit(f"error: {error}" if given else usage)


def check_arguments(arguments: Sequence[str]) -> list[str]:
    """Finds the recipe and refuses `--config.NAME` of values that it does not have or heed.

    Args:
        arguments: The command line, without the program's name.

    Returns:
        The command line with the recipe's file in place of its name.

    Raises:
        ConfigError: Names the flag and what was probably meant.
    """
    arguments = _in_one_form(arguments)
    recipe = _recipe(arguments)
    if recipe is None:
        return arguments
    config = recipes.load(recipe)
    values = (one for one in arguments if re.match("--(no)?config[.]", one))
    given = [value.partition("config.")[2].partition("=")[0] for value in values]
    for name in given:
        recipes.check_name(recipe, config, name)
    for epochs, steps in (("epochs", "num_steps"), ("warmup_epochs", "warmup_steps")):
        if epochs in given and (steps in given or config.get(steps) is not None):
            raise ConfigError(
                f"--config.{epochs} has no effect beside config.{steps} ({recipe} has "
                f"{config.get(steps)}); give --config.{steps}"
            )
    if "model.size" in given and None not in config.model.encoder.values():
        shape = config.model.encoder.items()
        raise ConfigError(
            f"--config.model.size has no effect on the encoder of {recipe}, which sets "
            + ", ".join(f"config.model.encoder.{name}={value}" for name, value in shape)
            + "; give those"
        )
    found = f"--config={recipes.find(recipe)}"
    return [found if one.startswith("--config=") else one for one in arguments]


def help_text(arguments: Sequence[str]) -> str:
    """The running command's flags, and the recipes or the values of the recipe that is given.

    Raises:
        ConfigError: There is no such recipe.
    """
    lines = ["Flags:"]
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module == sys.argv[0] or module.startswith("mgm_jax"):
            for flag in defined:
                value = flag.name if flag.default is None else f"{flag.name}={flag.default}"
                text = textwrap.fill(f"--{value:23s} {flag.help}", 110, subsequent_indent=" " * 28)
                lines.append(f"  {text}")
    recipe = _recipe(_in_one_form(arguments))
    if "config" not in flags.FLAGS:
        return "\n".join(lines)
    if recipe is not None:
        values = config_help.describe(recipes.load(recipe))
        return "\n".join([*lines, "", f"Values of {recipe}:", values])
    lines += ["", "Recipes, whose values --config=RECIPE --help lists:"]
    lines += [f"  {name:22s} {recipes.summary(name)}" for name in recipes.names()]
    return "\n".join(lines)


def _in_one_form(arguments: Sequence[str]) -> list[str]:
    """Flags with two dashes, and the recipe in the same word as its flag."""
    end = arguments.index("--") if "--" in arguments else len(arguments)  # What follows is no flag.
    words = [re.sub(r"^--?(?=[a-z])", "--", argument) for argument in arguments[:end]]
    words += arguments[end:]
    for place in reversed(range(len(words) - 1)):
        if words[place] == "--config":
            words[place : place + 2] = [f"--config={words[place + 1]}"]
    return words


def _recipe(arguments: Sequence[str]) -> str | None:
    found = [one.partition("=")[2] for one in arguments if one.startswith("--config=")]
    return found[-1] if found else None
