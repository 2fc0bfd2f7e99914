"""Set-up of a program's processes: `jax.distributed` and the cache of compiled programs."""

import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags, logging

from mgm_jax.errors import ConfigError

_COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    "~/.cache/mgm_jax/compiled",
    "Private folder of compiled programs, reused by later runs; empty disables it.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address",
    os.environ.get("JAX_COORDINATOR_ADDRESS"),
    "HOST:PORT of process 0 in a run of several processes (JAX_COORDINATOR_ADDRESS). On Cloud TPU "
    "and SLURM, this and the next two are detected.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", os.environ.get("JAX_NUM_PROCESSES"), "Number of processes (JAX_NUM_PROCESSES)."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", os.environ.get("JAX_PROCESS_ID"), "Index of this process (JAX_PROCESS_ID)."
)
_PEER_TIMEOUT = flags.DEFINE_integer(
    "peer_timeout",
    60,
    "Seconds without a heartbeat from a process after which the others end.",
    lower_bound=1,
)


def use_compile_cache() -> None:
    """Reuses compiled programs between runs; the folder is private, since it holds code."""
    if not _COMPILE_CACHE.value:
        return
    folder = pathlib.Path(_COMPILE_CACHE.value).expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def initialise_distributed() -> None:
    """Joins the other processes of the run, if any; call it before anything asks for devices.

    The flags, Cloud TPU or SLURM say which processes there are; otherwise this one is alone.

    Raises:
        ConfigError: Some of the flags are missing, or do not fit together.
    """
    given: dict[str, Any] = {
        "coordinator_address": _COORDINATOR.value,
        "num_processes": _NUM_PROCESSES.value,
        "process_id": _PROCESS_ID.value,
    }
    try:
        jax.distributed.initialize(
            **given,
            local_device_ids=_all_gpus_of_node(),
            heartbeat_timeout_seconds=_PEER_TIMEOUT.value,
            shutdown_timeout_seconds=_PEER_TIMEOUT.value,
        )
    except ValueError as error:
        missing = [name for name, value in given.items() if value is None]
        if len(missing) == len(given) and "coordinator_address" in str(error):
            return  # JAX detects no cluster.
        if not missing:
            raise ConfigError(f"--process_id, --num_processes: {error}") from error
        raise ConfigError(
            f"several processes also need {', '.join(f'--{name}' for name in missing)}"
        ) from error
    logging.info("process %d of %d", jax.process_index(), jax.process_count())


def _all_gpus_of_node() -> list[int] | None:
    """All GPUs if SLURM runs one process per node; JAX would give the process only the first."""
    names = ("SLURM_NTASKS", "SLURM_STEP_NUM_NODES", "SLURM_GPUS_ON_NODE")
    tasks, nodes, gpus = (int(os.environ.get(name, 0)) for name in names)
    if not (tasks and nodes and gpus) or tasks != nodes or "JAX_LOCAL_DEVICE_IDS" in os.environ:
        return None
    return list(range(gpus))


@contextlib.contextmanager
def wait_for_peer_error() -> Iterator[None]:
    """Within this context, a failed computation gives JAX time to find a dead process.

    JAX then names that process and ends this one with SIGABRT. Without the wait, when a process
    dies, each of the others fails in some collective, with its own message and exit code.

    After any other error this process ends with exit code 1 without waiting for the others, which
    then end as if it had died.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() > 1:
            logging.error(
                "process %d of %d failed; waiting %d s for JAX to report a dead one: %s",
                jax.process_index(),
                jax.process_count(),
                2 * _PEER_TIMEOUT.value,
                error,
            )
            time.sleep(2 * _PEER_TIMEOUT.value)
        raise
    except Exception:
        if jax.process_count() > 1:
            # JAX waits for the others at exit. If they fail as well, they come in time.
            timer = threading.Timer(_PEER_TIMEOUT.value / 2, os._exit, (1,))
            timer.daemon = True
            timer.start()
        raise
