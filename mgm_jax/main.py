"""The entry point: `python -m mgm_jax.main --config=configs/demo_pretrain.py --workdir=DIR`."""

import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from mgm_jax import config as config_lib
from mgm_jax.errors import MgmError

_CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe, as configs/NAME.py[:argument].")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; a run already there goes on from its last checkpoint."
)
_COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    "~/.cache/mgm_jax/compiled",
    "Private folder of compiled programs, reused by later runs; empty for none.",
)


def main(_: Sequence[str]) -> None:
    """Trains as the flags say; bad input ends with its message and exit code 1."""
    # Imported late, so that a bad command line is refused at once.
    import jax

    from mgm_jax import train

    set_compile_cache(_COMPILE_CACHE.value)
    logging.info("%d devices: %s", jax.device_count(), jax.devices()[0].device_kind)
    try:
        train.train(_CONFIG.value, _WORKDIR.value)
    except MgmError as error:
        if logging.level_debug():
            raise
        sys.exit(f"error: {error}")


def set_compile_cache(folder: str) -> None:
    """Reuses compiled programs between runs; the folder is the user's alone, for it is code."""
    import jax

    if not folder:
        return
    cache = pathlib.Path(folder).expanduser()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses the command line; a bad one ends with its message."""
    try:
        config_lib.check_arguments(arguments[1:])
    except MgmError as error:
        sys.exit(f"error: {error}")
    return app.parse_flags_with_usage(arguments)


def run() -> None:
    """Runs the program."""
    flags.mark_flags_as_required(["config", "workdir"])
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    run()
