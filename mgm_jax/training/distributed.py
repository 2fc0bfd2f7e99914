"""What every program of the project sets up first: log, processes, cache of compiled programs."""

import contextlib
import logging as standard_logging
import os
import pathlib
import time
from collections.abc import Iterator

import jax
from absl import flags, logging

from mgm_jax.errors import ConfigError

_COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    "~/.cache/mgm_jax/compiled",
    "Private folder of compiled programs, reused by later runs; empty for none.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address",
    os.environ.get("JAX_COORDINATOR_ADDRESS"),
    "HOST:PORT of process 0, where several processes make one run (JAX_COORDINATOR_ADDRESS). "
    "Cloud TPU and SLURM tell this and the next two themselves.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", os.environ.get("JAX_NUM_PROCESSES"), "How many (JAX_NUM_PROCESSES)."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", os.environ.get("JAX_PROCESS_ID"), "Number of this one, from 0 (JAX_PROCESS_ID)."
)
_PEER_TIMEOUT = flags.DEFINE_integer(
    "peer_timeout",
    60,
    "Seconds without a sign of life from a process after which the others end.",
    lower_bound=1,
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


def initialise_distributed() -> None:
    """Joins the other processes of the run, where there are any; before anything asks for devices.

    The flags say which, or Cloud TPU or SLURM does. Where nothing does, this process is alone.

    Raises:
        ConfigError: The flags say only half of it.
    """
    said = {
        "coordinator_address": _COORDINATOR.value,
        "num_processes": _NUM_PROCESSES.value,
        "process_id": _PROCESS_ID.value,
    }
    try:
        jax.distributed.initialize(
            **said,
            local_device_ids=_gpus_of_a_node(),
            heartbeat_timeout_seconds=_PEER_TIMEOUT.value,
        )
    except ValueError as error:
        missing = [name for name, value in said.items() if value is None]
        if len(missing) == len(said) and "coordinator_address" in str(error):
            return  # No cluster that JAX knows.
        if not missing:
            raise ConfigError(f"--process_id, --num_processes: {error}") from error
        raise ConfigError(
            f"several processes need {', '.join(f'--{name}' for name in missing)} as well"
        ) from error
    logging.info("process %d of %d", jax.process_index(), jax.process_count())


def _gpus_of_a_node() -> list[int] | None:
    """All GPUs where SLURM runs one process on each node; JAX would give it the first alone."""
    names = ("SLURM_NTASKS", "SLURM_STEP_NUM_NODES", "SLURM_GPUS_ON_NODE")
    told = [int(os.environ.get(name, 0)) for name in names]
    tasks, nodes, gpus = told
    if not all(told) or tasks != nodes or "JAX_LOCAL_DEVICE_IDS" in os.environ:
        return None
    return list(range(gpus))


@contextlib.contextmanager
def wait_for_peer_error() -> Iterator[None]:
    """Within, a failed computation gives JAX the time to find that another process is dead.

    JAX then says which and ends this process by SIGABRT. Otherwise, when a process dies, the others
    fail in some collective operation, each with its own message and exit code.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() > 1:
            logging.error(
                "process %d of %d failed; waiting %d s for word of the others: %s",
                jax.process_index(),
                jax.process_count(),
                2 * _PEER_TIMEOUT.value,
                error,
            )
            time.sleep(2 * _PEER_TIMEOUT.value)
        raise
