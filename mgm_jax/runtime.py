"""What every program of the project sets up first: its log, and its cache of compiled programs."""

import logging as standard_logging
import pathlib

import jax
from absl import flags, logging

_COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    "~/.cache/mgm_jax/compiled",
    "Private folder of compiled programs, reused by later runs; empty for none.",
)


def log_to_stderr() -> None:
    """Shows this project's log from INFO on, and Orbax's, which says much, from WARNING on."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(
        lambda record: "orbax" not in record.pathname or record.levelno >= standard_logging.WARNING
    )


def use_compile_cache() -> None:
    """Reuses compiled programs between runs; the folder is the user's alone, for it is code."""
    if not _COMPILE_CACHE.value:
        return
    folder = pathlib.Path(_COMPILE_CACHE.value).expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
