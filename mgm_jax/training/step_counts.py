"""How many steps a run has."""

import dataclasses

from ml_collections import ConfigDict

from mgm_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class StepCounts:
    """Length of a run, in steps."""

    total_steps: int
    warmup_steps: int
    stop_step: int
    steps_per_epoch: float


def count_steps(config: ConfigDict, num_videos: int) -> StepCounts:
    """Counts the steps of a run.

    Args:
        config: The run's config; `num_steps` and `warmup_steps` win over the epochs.
        num_videos: Videos in an epoch.

    Returns:
        The plan.

    Raises:
        ConfigError: The run has no step, or its warm-up is longer than itself.
    """
    steps_per_epoch = num_videos / config.batch_size

    def count(number: int | None, epochs: float) -> int:
        return int(epochs * num_videos) // config.batch_size if number is None else number

    total = count(config.num_steps, config.epochs)
    warmup = count(config.warmup_steps, config.warmup_epochs)
    if total < 1:
        raise ConfigError(
            f"config.epochs={config.epochs} of {num_videos} videos make no batch of "
            f"{config.batch_size}; lower config.batch_size, or set config.num_steps"
        )
    if warmup > total:
        raise ConfigError(
            f"the warm-up of {warmup} steps is longer than the run of {total}; set "
            "config.warmup_steps or config.warmup_epochs"
        )
    stop = total if config.stop_at_step is None else min(config.stop_at_step, total)
    return StepCounts(total, warmup, stop, steps_per_epoch)
