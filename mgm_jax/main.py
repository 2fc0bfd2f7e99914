"""Trains or evaluates a run: `python -m mgm_jax.main --config=RECIPE --workdir=DIR`."""

from collections.abc import Sequence

import jax
from absl import flags, logging
from ml_collections import config_flags

from mgm_jax.evaluation.full_evaluation import evaluate
from mgm_jax.program import run_program
from mgm_jax.train import train
from mgm_jax.training import distributed, preemption
from mgm_jax.training.memory import out_of_memory_explained

_CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe, as configs/NAME.py[:argument].")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; a run that is there resumes from its last checkpoint."
)


def main(_: Sequence[str]) -> None:
    """Trains or evaluates, by `config.mode`.

    SIGTERM and SIGUSR1 end the program with `preemption.EXIT_CODE`.
    """
    distributed.use_compile_cache()
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


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_program(main)
