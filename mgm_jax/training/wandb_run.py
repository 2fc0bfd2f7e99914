"""Weights & Biases as a further place for the metrics of a run: `config.tracker="wandb"`."""

import importlib.util
import os
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.errors import ConfigError
from mgm_jax.io import AnyPath, absolute, in_bucket, replacing

ID_FILE = "wandb_id"


def check_tracker(config: ConfigDict) -> None:
    """Refuses `config.tracker="wandb"` where wandb is not installed."""
    if config.tracker == "wandb" and importlib.util.find_spec("wandb") is None:
        raise ConfigError(
            "config.tracker=wandb needs the package wandb: pip install wandb, or leave "
            "--config.tracker out; metrics.jsonl and TensorBoard are always written"
        )


class WandbRun:
    """A run at Weights & Biases; a run that resumes goes on there too.

    Its environment variables choose the rest: WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY.
    """

    def __init__(self, workdir: AnyPath, config: ConfigDict):
        """Raises ConfigError if wandb refuses to start."""
        import wandb

        file = workdir / ID_FILE
        resumes = file.exists()
        if not resumes:
            with replacing(file) as new:
                new.write(uuid.uuid4().hex.encode())
        self._wandb = wandb
        try:
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "mgm_jax"),
                name=absolute(workdir).name,
                id=file.read_text(),
                resume="allow",
                config=config_lib.to_json(config),
                dir=None if in_bucket(workdir) else str(workdir),
            )
        except wandb.errors.Error as error:
            raise ConfigError(
                f"config.tracker=wandb: {error}. Run wandb login, or set WANDB_MODE=offline"
            ) from error
        if resumes and self._run.offline:
            logging.warning(
                "wandb sync of a resumed run's offline parts keeps the last part only; "
                "metrics.jsonl has all"
            )
        # Steps that a resumed run repeats would be refused as steps of wandb's own.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, values: Mapping[str, float | np.ndarray]) -> None:
        """Logs numbers and pictures."""
        logged = {
            name: self._wandb.Image(value) if isinstance(value, np.ndarray) else value
            for name, value in values.items()
        }
        self._run.log({"step": step, **logged})

    def close(self) -> None:
        """Ends the run, which uploads what is left."""
        self._run.finish()
