"""The length of a run in steps."""

import dataclasses

from absl import logging
from ml_collections import ConfigDict

from mgm_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class StepCounts:
    """The length of a run.

    Attributes:
        total_steps: Steps of the whole run, warm-up included.
        stop_step: Where this program stops: `config.stop_at_step`, or the end.
    """

    total_steps: int
    warmup_steps: int
    stop_step: int
    steps_per_epoch: float


def count_steps(config: ConfigDict, num_videos: int) -> StepCounts:
    """Counts the steps of a run; `num_steps` and `warmup_steps` take precedence over the epochs.

    Raises:
        ConfigError: The run has no step, or its warm-up is longer than the run.
    """
    steps_per_epoch = num_videos / config.batch_size

    def count(number: int | None, epochs: float) -> int:
        return int(epochs * num_videos) // config.batch_size if number is None else number

    total = count(config.num_steps, config.epochs)
    warmup = count(config.warmup_steps, config.warmup_epochs)
    if total < 1:
        raise ConfigError(
            f"config.epochs={config.epochs} of {num_videos} videos are less than one batch of "
            f"{config.batch_size}; lower config.batch_size, or set config.num_steps"
        )
    if warmup > total:
        raise ConfigError(
            f"config.warmup_steps (or config.warmup_epochs): the warm-up of {warmup} steps is "
            f"longer than the run of {total}; shorten it"
        )
    if num_videos < config.batch_size:
        logging.warning(
            "%d videos are fewer than config.batch_size=%d: each step reads every video about %.3g "
            "times, each time with another start and crop",
            num_videos,
            config.batch_size,
            config.batch_size / num_videos,
        )
    stop = total if config.stop_at_step is None else min(config.stop_at_step, total)
    return StepCounts(total, warmup, stop, steps_per_epoch)
