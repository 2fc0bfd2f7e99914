"""Multi-view evaluation: each video is counted once, on any number of devices and hosts."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int
from ml_collections import ConfigDict

from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadTransform, LoadViews
from mgm_jax.data.loader import ClipBatches, check_skipped
from mgm_jax.data.records import UNLABELLED, VideoSource
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.training import sharding
from mgm_jax.training.classify_step import PredictFn
from mgm_jax.training.tasks import STEPS_AHEAD

_NAMED = 5


class Evaluator:
    """Averages a model's class probabilities over several views of each video."""

    def __init__(self, config: ConfigDict, mesh: Mesh, predict_fn: PredictFn):
        """Compiles nothing and reads nothing yet.

        For `predict_fn` see `training.classify_step.make_predict_fn`.
        """
        self._config = config
        # config.eval.batch_size, rounded up to what the devices divide evenly.
        unit = mesh.shape["data"] * mesh.shape["fsdp"]
        self._global_batch = -(-config.eval.batch_size // unit) * unit
        self._rows = sharding.host_rows(mesh, self._global_batch, jax.process_index())
        self._batch_sharding = sharding.batch_sharding(mesh)
        self._predict_fn = jax.jit(
            sharding.on_mesh(predict_fn, mesh),
            in_shardings=(None, self._batch_sharding),  # Variables stay where they are.
            out_shardings=NamedSharding(mesh, PartitionSpec()),
        )

    def batches(self, loader: LoadTransform) -> ClipBatches:
        """Every item of a loader once, in order; the last batch is filled up with invalid ones.

        It is for `check_read` to judge whether too many could not be read.
        """
        return ClipBatches.from_config(
            self._config.data,
            loader,
            global_batch=self._global_batch,
            num_batches=-(-loader.num_items // self._global_batch),
            seed=None,
            max_bad_fraction=1.0,
            rows=self._rows,
        )

    def outputs(
        self, variables: Mapping[str, Any], batches: ClipBatches
    ) -> Iterator[dict[str, np.ndarray]]:
        """What the model predicts for each batch, on every host; closes the batches."""
        waiting = collections.deque[dict[str, jax.Array]]()
        try:
            for host_batch in batches:
                batch = sharding.global_batch(self._batch_sharding, host_batch)
                waiting.append(self._predict_fn(variables, batch))
                del host_batch, batch  # Frees the data workers' shared memory.
                if len(waiting) > STEPS_AHEAD:
                    yield jax.device_get(waiting.popleft())
            yield from map(jax.device_get, waiting)
        finally:
            batches.close()

    def check_read(
        self, missing: Int[np.ndarray, " videos"], views: int, names: Sequence[str]
    ) -> None:
        """Compares the views that could not be read, on all hosts, with the allowed fraction.

        `missing`: for each video in `names`, how many of its `views` could not be read.

        Raises:
            TooManySkippedError: They are more.
        """
        unread = [names[video] for video in np.flatnonzero(missing).tolist()]
        allowed = self._config.data.max_bad_fraction
        check_skipped(int(missing.sum()), views * len(names), allowed, unread)

    def run(
        self,
        variables: Mapping[str, Any],
        source: VideoSource,
        *,
        temporal_views: int,
        spatial_views: int,
    ) -> list[Predictions]:
        """Evaluates a model on videos; every host gets the same result.

        A video has `temporal_views` clips along time, each with `spatial_views` crops along the
        frame's long side.

        Returns:
            The predictions of each of the model's heads.

        Raises:
            TooManySkippedError: More views than `config.data.max_bad_fraction` cannot be read.
        """
        spec = ReadSpec.from_config(self._config.data)
        loader = LoadViews(source, spec, temporal_views=temporal_views, copies=spatial_views)
        batches = self.batches(loader)
        sums: Any = 0.0
        num_views = np.zeros(len(source), np.int64)
        labels = np.full(len(source), UNLABELLED)
        for outputs in self.outputs(variables, batches):
            valid = outputs["valid"]
            videos = outputs["index"][valid] // (temporal_views * spatial_views)
            probabilities = outputs["probabilities"]
            if np.ndim(sums) == 0:
                shape = (len(probabilities), len(source), probabilities.shape[-1])
                sums = np.zeros(shape, np.float64)
            for head, rows in zip(sums, probabilities[:, valid], strict=True):
                np.add.at(head, videos, rows)
            np.add.at(num_views, videos, 1)
            labels[videos] = outputs["label"][valid]
        names = tuple(source.describe(index) for index in range(len(source)))
        views = temporal_views * spatial_views
        self.check_read(views - num_views, views, names)
        faulty = np.flatnonzero(~np.isfinite(sums).all(axis=(0, 2))).tolist()
        if faulty:
            logging.warning(
                "%d of %d videos are counted as wrong: the probabilities of a view are not finite, "
                "as for %s. Check the checkpoint's parameters, or set config.model.dtype=float32",
                len(faulty),
                len(source),
                ", ".join(names[video] for video in faulty[:_NAMED]),
            )
        return [
            Predictions(
                probabilities=(head / np.maximum(num_views, 1)[:, None]).astype(np.float32),
                labels=labels,
                num_views=num_views,
                names=names,
                class_names=tuple(source.class_names),
                errors=batches.errors,
            )
            for head in sums
        ]
