"""Trains or evaluates a run: `python -m mgm_jax.main --config=RECIPE --workdir=DIR`."""

import sys
from collections.abc import Sequence

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from mgm_jax import config as config_lib
from mgm_jax.errors import MgmError
from mgm_jax.evaluation.full_evaluation import evaluate
from mgm_jax.train import train
from mgm_jax.training import distributed, preemption
from mgm_jax.training.memory import out_of_memory_explained

_CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe, as configs/NAME.py[:argument].")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; a run that is there resumes from its last checkpoint."
)


def main(_: Sequence[str]) -> None:
    """Trains or evaluates, by `config.mode`.

    User errors end the program with a message and exit code 1, SIGTERM and SIGUSR1 with
    `preemption.EXIT_CODE`.
    """
    distributed.use_compile_cache()
    try:
        distributed.initialise_distributed()
        logging.info("%d devices: %s", jax.device_count(), jax.devices()[0].device_kind)
        config = _CONFIG.value
        with (
            preemption.exit_on_signal(),
            distributed.wait_for_peer_error(),
            out_of_memory_explained(config),
        ):
            command = evaluate if config.mode == "eval" else train
            command(config, str(_WORKDIR.value))
    except MgmError as error:
        if logging.level_debug():
            raise
        sys.exit(f"error: {error}")


def run() -> None:
    """Runs the program."""
    flags.mark_flags_as_required(["config", "workdir"])
    distributed.log_to_stderr()
    app.run(main, flags_parser=config_lib.parse_flags)


if __name__ == "__main__":
    run()
