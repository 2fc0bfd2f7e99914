"""Multi-view evaluation: every video counted once, on any number of devices and hosts."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float32, Int
from ml_collections import ConfigDict

from mgm_jax.data.centre_clips import spread
from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadViews
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.records import UNLABELLED, VideoRecord, VideoSource
from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError
from mgm_jax.training import sharding
from mgm_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says of videos.

    Attributes:
        probabilities: Softmax averaged over the views of each video, for each of the model's
            heads; zero where no view could be read.
        labels: True classes; `UNLABELLED` where there is none, or it could not be read.
        num_views: Views read of each video.
        names: What leads a person to each video.
        class_names: Names of the classes.
    """

    probabilities: Float32[np.ndarray, "heads videos classes"]
    labels: Int[np.ndarray, " videos"]
    num_views: Int[np.ndarray, " videos"]
    names: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def counted(self) -> Bool[np.ndarray, " videos"]:
        """Videos that an accuracy is of: those read, with a class."""
        return self.read & (self.labels != UNLABELLED)

    @property
    def read(self) -> Bool[np.ndarray, " videos"]:
        """Videos of which there was a view."""
        return self.num_views > 0

    def ranks(self) -> Int[np.ndarray, "heads videos"]:
        """How many classes each head finds likelier than the true one.

        Equal classes count as likelier, so a model that says nothing is right nowhere.
        """
        true = np.take_along_axis(self.probabilities, self.labels[None, :, None], axis=-1)
        return (self.probabilities >= true).sum(axis=-1) - 1

    def accuracy(self, k: int = 1) -> Float32[np.ndarray, " heads"]:
        """Share of the counted videos whose class is among each head's first k; nan without any."""
        hits = self.ranks()[:, self.counted] < k
        return hits.mean(axis=1, dtype=np.float32) if hits.size else np.full(len(hits), np.nan)

    def head(self, number: int) -> "Predictions":
        """The predictions of one head alone."""
        return dataclasses.replace(self, probabilities=self.probabilities[number : number + 1])


class SubsetSource:
    """Some videos of a source, with its classes."""

    def __init__(self, source: VideoSource, indices: Int[np.ndarray, " n"]):
        """Chooses videos.

        Args:
            source: All videos.
            indices: Positions of those to keep, in this order.
        """
        self._source = source
        self._indices = indices.tolist()
        self.class_names = source.class_names

    def __len__(self) -> int:
        """Number of videos kept."""
        return len(self._indices)

    def __getitem__(self, index: int) -> VideoRecord:
        """The video at a position among those kept."""
        return self._source[self._indices[index]]

    def describe(self, index: int) -> str:
        """Name of the video at a position among those kept."""
        return self._source.describe(self._indices[index])


def evenly_spaced(source: VideoSource, count: int) -> VideoSource:
    """At most `count` videos, evenly spaced over a source; all of them for 0."""
    if not count or count >= len(source):
        return source
    return SubsetSource(source, np.array(spread(count, len(source))))


def make_eval_source(config: ConfigDict, class_names: tuple[str, ...]) -> VideoSource:
    """Opens the videos that `config.eval` names, or else the training data's other split.

    Args:
        config: The run's config.
        class_names: Classes that the model knows.

    Returns:
        The source.

    Raises:
        ConfigError: There are no such videos, or their classes are others.
    """
    names = ("source", "path", "root")
    chosen = {
        name: config.data[name] if config.eval[name] is None else config.eval[name]
        for name in names
    }
    source = make_source(chosen["source"], chosen["path"], config.eval.split, chosen["root"])
    if tuple(source.class_names) != tuple(class_names):
        unknown = sorted(set(source.class_names) - set(class_names))
        missing = sorted(set(class_names) - set(source.class_names))
        raise ConfigError(
            f"the videos to evaluate on ({chosen['path']}, config.eval) have other classes than "
            f"the model: {len(source.class_names)} against {len(class_names)}; not known to the "
            f"model: {', '.join(unknown[:5]) or 'none'}; without videos: "
            f"{', '.join(missing[:5]) or 'none'}; or they are in another order. List both with the "
            "same label and label_id in a csv file, or prepare them as one dataset"
        )
    return source


class Evaluator:
    """Runs a model over the views of videos."""

    def __init__(
        self,
        config: ConfigDict,
        source: VideoSource,
        mesh: Mesh,
        predict_fn: Callable[[TrainState, dict[str, Any]], dict[str, Any]],
        state_sharding: Any,
        *,
        temporal_views: int,
        spatial_views: int,
    ):
        """Prepares the views; nothing is read yet.

        Args:
            config: The run's config.
            source: The videos.
            mesh: Devices.
            predict_fn: `(state, batch) -> {probabilities [heads, b, classes], index, valid}`.
            state_sharding: Sharding of the state.
            temporal_views: Clips per video along time.
            spatial_views: Clips per temporal view along the frame's long side.
        """
        self._config, self._mesh, self._source = config, mesh, source
        self._loader = LoadViews(
            source=source,
            spec=ReadSpec.from_config(config.data),
            temporal_views=temporal_views,
            copies=spatial_views,
        )
        # As many views per step as asked for, rounded up to what the devices divide evenly.
        shards = mesh.shape["data"] * mesh.shape["fsdp"]
        unit = math.lcm(shards, jax.process_count())
        self._global_batch = -(-config.eval.batch_size // unit) * unit
        self._batch_sharding = sharding.batch_sharding(mesh)
        replicated = NamedSharding(mesh, PartitionSpec())
        self._predict_fn = jax.jit(
            sharding.on_mesh(predict_fn, mesh),
            in_shardings=(state_sharding, self._batch_sharding),
            out_shardings=replicated,
        )

    def run(self, state: TrainState) -> Predictions:
        """Evaluates a model; the same result on every host.

        Args:
            state: With the model's parameters.

        Returns:
            The predictions for every video.

        Raises:
            TooManySkippedError: More views than allowed cannot be read.
        """
        loader, num_videos = self._loader, len(self._source)
        batches = ClipBatches.from_config(
            self._config.data,
            loader,
            global_batch=self._global_batch,
            num_batches=-(-loader.num_items // self._global_batch),
            seed=None,
            process=(jax.process_index(), jax.process_count()),
        )
        sums, num_views = None, np.zeros(num_videos, np.int64)
        labels = np.full(num_videos, UNLABELLED)
        try:
            for batch in batches:
                batch = sharding.global_batch(self._batch_sharding, batch)
                made = jax.device_get(self._predict_fn(state, batch))
                del batch
                valid = made["valid"]
                videos = made["index"][valid] // (loader.copies * loader.temporal_views)
                if sums is None:
                    heads, _, classes = made["probabilities"].shape
                    sums = np.zeros((heads, num_videos, classes), np.float64)
                np.add.at(sums, (slice(None), videos), made["probabilities"][:, valid])
                np.add.at(num_views, videos, 1)
                labels[videos] = made["label"][valid]
        finally:
            batches.close()
        return Predictions(
            probabilities=(sums / np.maximum(num_views, 1)[:, None]).astype(np.float32),
            labels=labels,
            num_views=num_views,
            names=tuple(self._source.describe(index) for index in range(num_videos)),
            class_names=tuple(self._source.class_names),
        )
