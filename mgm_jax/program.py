"""Runs a command: its log, its flags, and how it ends after an error that the user can fix."""

import logging as standard_logging
import sys
from collections.abc import Callable, Sequence

from absl import app, logging

from mgm_jax.config import parse_flags
from mgm_jax.errors import MgmError


def run_program(main: Callable[[Sequence[str]], None]) -> None:
    """Runs a command; errors that the user can fix end it with their message and exit code 1.

    INFO and above are logged to stderr; of Orbax, which is verbose, WARNING and above.
    """
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(
        lambda record: "orbax" not in record.pathname or record.levelno >= standard_logging.WARNING
    )

    def main_without_traceback(arguments: Sequence[str]) -> None:
        try:
            main(arguments)
        except MgmError as error:
            if logging.level_debug():
                raise
            sys.exit(f"error: {error}")

    app.run(main_without_traceback, flags_parser=parse_flags)
