"""Runs a command: its log, its flags, and how it ends after an error that the user can fix."""

import logging as standard_logging
import sys
from collections.abc import Callable, Sequence

from absl import app, logging

from mgm_jax.command_line import parse_flags
from mgm_jax.errors import ConfigError, MgmError

# Orbax is verbose, and JAX tells of every kind of device that this machine does not have.
_VERBOSE = ("orbax", "xla_bridge")


def run_program(main: Callable[[Sequence[str]], None], *, positional: bool = False) -> None:
    """Runs a command; errors that the user can fix end it with their message and exit code 1.

    INFO and above are logged to stderr; of Orbax and of JAX's devices, WARNING and above. Words
    that are no flags are refused, unless the command takes `positional` ones.
    """
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(
        lambda record: (
            record.levelno >= standard_logging.WARNING
            or not any(name in record.pathname for name in _VERBOSE)
        )
    )

    def main_without_traceback(arguments: Sequence[str]) -> None:
        try:
            if len(arguments) > 1 and not positional:
                raise ConfigError(
                    f"{' '.join(arguments[1:])}: not a flag; flags are written --NAME=VALUE, "
                    "without spaces"
                )
            main(arguments)
        except MgmError as error:
            if logging.level_debug():
                raise
            sys.exit(f"error: {error}")

    app.run(main_without_traceback, flags_parser=parse_flags)
