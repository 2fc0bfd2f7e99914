"""Trains or evaluates a model; the same command resumes a run that was interrupted.

python -m mgm_jax.main --config=RECIPE --workdir=DIR [--config.NAME=VALUE ...]

  --config       a recipe, as ssv2_pretrain or ssv2_pretrain:mask=smm, or a file of your own
  --workdir      folder of the run: checkpoints, metrics, results
  --config.NAME  any value of the recipe, as --config.data.path=VIDEOS; with --config.mode=eval
                 (default: train), the run is evaluated; config.task is pretrain, finetune,
                 linear_probe or detect
  --help         all flags and recipes; with --config=RECIPE, its values and what they mean
"""

from collections.abc import Sequence

import jax
from absl import flags, logging
from ml_collections import config_flags

from mgm_jax.errors import ConfigError
from mgm_jax.program import run_program
from mgm_jax.training import distributed, preemption
from mgm_jax.training.memory import out_of_memory_explained

_CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe, by name or file.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; a run that is there resumes from its last checkpoint."
)


def main(_: Sequence[str]) -> None:
    """Trains or evaluates, by `config.mode`.

    SIGTERM and SIGUSR1 end the program with `preemption.EXIT_CODE`.
    """
    if not _WORKDIR.value:
        raise ConfigError("--workdir is empty; name the folder of the run")
    # Only now, so that a mistake on the command line is told at once.
    from mgm_jax.evaluation.full_evaluation import evaluate
    from mgm_jax.train import train

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
