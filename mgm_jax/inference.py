"""Trained models in Python: classes and features of video files.

from mgm_jax import load_classifier

model = load_classifier("runs/finetune")  # or an exported folder, or a model of the Hub
found = model.predict(["a.mp4", "b.mp4"])
found.class_names[found.predicted_classes[0]], found.probabilities[0].max()
model.encode(["a.mp4"]).vectors  # [1, width of the encoder]
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util
from jaxtyping import Array, Float32, Int
from ml_collections import ConfigDict

from mgm_jax import base_config
from mgm_jax.convert import hub
from mgm_jax.convert import weights as weights_lib
from mgm_jax.data.records import UNLABELLED
from mgm_jax.data.sources import FileSource
from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.evaluation.results import NUMBERS_FILE
from mgm_jax.io import AnyPath
from mgm_jax.models import vit
from mgm_jax.preprocessing import rgb
from mgm_jax.training import sharding, tasks
from mgm_jax.training.classify_step import PredictFn, make_predict_fn
from mgm_jax.training.runs import Run, find_run, load_run


@dataclasses.dataclass(frozen=True)
class Features:
    """What an encoder says of videos.

    Attributes:
        vectors: Means over the encoder's tokens, averaged over the views of each video; zero
            without a readable view.
        num_views: Views of each video that were read.
        names: Paths of the videos.
        errors: Why a view could not be read, by the index of the video.
    """

    vectors: Float32[np.ndarray, "videos dim"]
    num_views: Int[np.ndarray, " videos"]
    names: tuple[str, ...]
    errors: Mapping[int, str]


@dataclasses.dataclass(frozen=True)
class VideoClassifier:
    """A trained model that reads video files; see `load_classifier`.

    Attributes:
        run: The model with its config and classes.
        head: Which of a linear probe's heads classifies.
    """

    run: Run
    head: int = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities; none of a pretrained model."""
        return self.run.class_names

    def predict(
        self,
        files: Sequence[str | os.PathLike],
        *,
        temporal_views: int | None = None,
        spatial_views: int | None = None,
    ) -> Predictions:
        """Classifies video files.

        Softmaxes are averaged over `temporal_views` clips along time, each with `spatial_views`
        crops; by default as many as the run's evaluation has, and one for other models. Files that
        cannot be read are in `errors`.

        Raises:
            ConfigError: A pretrained model, or a detector, which classify no videos; no files or
                views.
        """
        task = self.run.config.task
        if task not in ("finetune", "linear_probe"):
            raise ConfigError(
                f"a model of config.task={task} does not classify videos; finetune it with "
                "--config.init_from and load the folder of that run"
            )
        predict_fn = make_predict_fn(self.run.config, self.run.model)
        return self._evaluate(predict_fn, files, temporal_views, spatial_views)[self.head]

    def encode(
        self,
        files: Sequence[str | os.PathLike],
        *,
        temporal_views: int | None = None,
        spatial_views: int | None = None,
    ) -> Features:
        """The encoder's features of video files, also those of a pretrained model.

        Arguments are those of `predict`.
        """
        predict_fn = _make_features_fn(self.run)
        (found,) = self._evaluate(predict_fn, files, temporal_views, spatial_views)
        return Features(found.probabilities, found.num_views, found.names, found.errors)

    def _evaluate(
        self,
        predict_fn: PredictFn,
        files: Sequence[str | os.PathLike],
        temporal_views: int | None,
        spatial_views: int | None,
    ) -> list[Predictions]:
        if isinstance(files, str | os.PathLike) or not len(files):
            raise ConfigError(f"give a list of video files, not {files!r}")
        config = self.run.config.copy_and_resolve_references()
        config.data.num_workers = 0  # Starting processes does not pay off for a few files.
        config.data.max_bad_fraction = 1.0
        config.data.motion = "none"
        own = config.get("eval", {})
        given = {"temporal_views": temporal_views, "spatial_views": spatial_views}
        views = {n: own.get(n, 1) if value is None else value for n, value in given.items()}
        if min(views.values()) < 1:
            raise ConfigError(f"{views}: at least one view of each kind is needed")
        config.eval = ConfigDict({"batch_size": views["temporal_views"]})
        evaluator = Evaluator(config, self.run.mesh, predict_fn)
        names = [os.fspath(file) for file in files]
        source = FileSource("", names, [UNLABELLED] * len(names), self.class_names)
        return evaluator.run(self.run.variables, source, **views)


def load_classifier(source: str | os.PathLike, *, checkpoint: str = "last") -> VideoClassifier:
    """Loads a trained model, to classify or encode video files.

    Args:
        source: Folder of a run or of one of its checkpoints, a Hugging Face folder, or the name of
            a model of the Hub, as `MCG-NJU/videomae-base-finetuned-kinetics`. A pretrained model
            only encodes.
        checkpoint: Of a run: "last", or "best" by the accuracy during training.

    Raises:
        CheckpointError: There is no model, or it does not say how its clips are read.
        ConfigError: There is no such checkpoint.
    """
    path = hub.find_model(os.fspath(source))
    workdir, step = find_run(path) or (None, None)
    if checkpoint != "last" and (workdir is None or step is not None):
        raise ConfigError(
            f"checkpoint={checkpoint!r} chooses among those of a run; {source} is none"
        )
    if workdir is not None:
        run = load_run(workdir, checkpoint=checkpoint if step is None else step)
        return VideoClassifier(run, chosen_head(run, workdir))
    return VideoClassifier(_as_run(weights_lib.read(path)))


def _as_run(weights: weights_lib.Weights) -> Run:
    """The model of another program, with the config that computes it."""
    architecture = weights.architecture
    if weights.frames is None or weights.size is None:
        raise CheckpointError(
            f"{weights.origin} does not store the size of its clips; make a run of it with "
            "python -m mgm_jax.convert --to=run, and load that"
        )
    if architecture.kind == "encoder" and not architecture.final_norm:
        raise CheckpointError(
            f"{weights.origin} is an encoder without its last LayerNorm and without a head; give "
            "the pretrained or the finetuned model that it comes from"
        )
    config = base_config.finetune() if architecture.num_classes else base_config.pretrain()
    config.data.update(clip_frames=weights.frames, size=weights.size, sampling=weights.sampling)
    config.data.host_crop_size = weights.size + weights.size % 2
    if weights.stride is None and weights.sampling == "dense":
        logging.warning(
            "%s does not say how far apart the frames of a clip are; taken to be %d, as VideoMAE's "
            "on Kinetics",
            weights.origin,
            config.data.stride,
        )
    config.data.stride = weights.stride or config.data.stride
    config.eval.update(temporal_views=1, spatial_views=1)
    config.model.update(tubelet=architecture.tubelet, dtype="float32")
    for part in ("encoder", "decoder"):
        shape = getattr(architecture, part)
        if shape is not None:
            fields = ("dim", "depth", "heads", "mlp_ratio")
            config.model[part].update({name: getattr(shape, name) for name in fields})
    model = tasks.make_model(config, len(weights.class_names))
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.local_devices()[:1])
    params = traverse_util.unflatten_dict(weights.params, sep="/")
    variables = {"params": jax.device_put(params, mesh.devices.item())}
    return Run(config, weights.class_names, model, variables, 0, mesh)


def chosen_head(run: Run, workdir: AnyPath) -> int:
    """The head of a linear probe that its evaluation chose; 0 for a model with a single head.

    Raises:
        CheckpointError: There are several heads and no whole evaluation.
    """
    if run.config.task != "linear_probe" or len(run.config.probe.learning_rate_factors) == 1:
        return 0
    try:
        numbers = json.loads((workdir / NUMBERS_FILE).read_bytes())
        if numbers["step"] != run.step:
            raise ValueError(f"of step {numbers['step']}, this checkpoint is of step {run.step}")
        return int(numbers["head"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"no evaluation in {workdir} says which head to use ({NUMBERS_FILE}: {error!r}); train "
            "the run to its end, or evaluate this checkpoint with --config.mode=eval "
            "--config.eval.checkpoint=last (or best)"
        ) from error


def _make_features_fn(run: Run) -> PredictFn:
    """As `make_predict_fn`, with the features of views in place of probabilities."""
    model: Any = run.model

    def features_of(variables: Mapping[str, Any], clips: Array) -> Array:
        if hasattr(model, "features"):
            return model.apply(variables, clips, method="features")
        # Without the rest of the model, since one of another program may have no decoder.
        encoder: Any = vit.Encoder(model.encoder_config, model.grid, model.tubelet)
        tokens = encoder.apply({"params": variables["params"]["encoder"]}, clips)
        return tokens.astype(jnp.float32).mean(axis=1)

    def features_fn(variables: Mapping[str, Any], batch: Mapping[str, Array]) -> dict[str, Array]:
        clips = rgb.normalise(rgb.batch_to_rgb(batch, size=run.config.data.size))
        features = features_of(variables, clips)
        rows = {name: batch[name] for name in ("index", "valid", "label")}
        return {"probabilities": features[None], **rows}

    return features_fn
