"""What helps when a device has too little memory."""

import contextlib
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from mgm_jax.errors import DoesNotFitError


def what_helps(
    config: ConfigDict, num_devices: int, *, state: bool, activations: bool = True
) -> list[str]:
    """The changes of a config that let a step need less memory, the cheapest first.

    `state` says whether dividing the train state can make it fit, `activations` whether smaller
    activations can. `num_devices` share a batch.
    """
    clips = config.batch_size // num_devices
    splits = (n for n in range(config.grad_accum_steps + 1, clips + 1) if clips % n == 0)
    parts = next(splits, None)
    fsdp = next((n for n in (8, 4, 2) if num_devices % n == 0), num_devices)
    cures = []
    if activations and config.model.remat != "full":
        choices = "dots or full" if config.model.remat == "none" else "full"
        cures.append(f"--config.model.remat={choices}")
    if activations and parts and config.task != "linear_probe":
        cures.append(
            f"--config.grad_accum_steps={parts} ({clips // parts} clips of a chip at a time)"
        )
    if state and config.mesh.fsdp == 1 and fsdp > 1:
        cures.append(f"--config.mesh.fsdp={fsdp}, which divides the train state among chips")
    if parts:
        cures.append(f"a smaller --config.batch_size ({clips} for each chip now)")
    return [*cures, "more chips" if parts else "chips with more memory"]


@contextlib.contextmanager
def out_of_memory_explained(config: ConfigDict) -> Iterator[None]:
    """Turns the runtime's error inside, while compiling or running, into one that says what helps.

    Raises:
        DoesNotFitError: A device has too little memory.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        shards = max(jax.device_count() // config.mesh.tensor, 1)
        cures = what_helps(config, shards, state=jax.device_count() > 1)
        if "batch_size" in config.get("eval", ()):
            cures.append("while evaluating, a smaller --config.eval.batch_size")
        raise DoesNotFitError(
            f"a device ran out of memory ({str(error).splitlines()[0]}). What helps: "
            + "; ".join(cures)
        ) from error
