"""Reads models from runs and from VideoMAE's and Hugging Face's files, and writes those files."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import traverse_util
from jaxtyping import Float64

from mgm_jax.convert import architecture as architecture_lib
from mgm_jax.convert import hub, hugging_face, layouts, model_card, tensors
from mgm_jax.convert.architecture import Architecture, FlatParams
from mgm_jax.errors import CheckpointError
from mgm_jax.io import AnyPath, absolute
from mgm_jax.preprocessing import rgb
from mgm_jax.training import runs

# Files of tensors in a Hugging Face folder, in order of preference. Even ViT-H is one file.
_TENSOR_FILES = ("model.safetensors", "pytorch_model.bin")
_TENSOR_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_MEAN, _DEVIATION = np.array(rgb.MEAN), np.array(rgb.STANDARD_DEVIATION)


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model's parameters and what is known about it.

    Attributes:
        params: Parameters by path.
        origin: Where they were read from, for messages.
        frames: Frames of a clip; None if unknown.
        size: Side of a clip in pixels; None if unknown.
        class_names: Classes of a classifier; empty if unknown.
        norm_pix_loss: Whether an autoencoder predicts normalised pixels, as VideoMAE's do.
        norm_pix_eps: As `config.norm_pix_eps`.
        stride: Distance of a clip's frames; None if unknown.
        sampling: As `config.data.sampling`.
        training: What a run tells of itself, for a model card (`model_card.describe_run`).
    """

    params: FlatParams
    architecture: Architecture
    origin: str
    frames: int | None = None
    size: int | None = None
    class_names: tuple[str, ...] = ()
    norm_pix_loss: bool = True
    norm_pix_eps: float = 1e-6
    stride: int | None = None
    sampling: str = "dense"
    training: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read(
    path: str | AnyPath,
    heads: Mapping[str, int] | None = None,
    norm_pix_loss: bool | None = None,
) -> Weights:
    """Reads a model, with parameters in float32.

    Args:
        path: Folder of a run (its last checkpoint) or of one of its checkpoints, a Hugging Face
            folder, a model of its Hub (`hub.find_model`), a DeepSpeed folder, or a file of tensors
            (.safetensors, .pth, .pt, .bin) in the layout of Hugging Face or of the original.
        heads: Number of heads by part ("encoder", "decoder"), for files without config.json and
            for VideoMAE-S (`hugging_face.architecture_of`); see `architecture.heads_of`.
        norm_pix_loss: Whether an autoencoder predicts normalised pixels, for files without
            config.json; None for VideoMAE's default, which it does.

    Raises:
        CheckpointError: There is no model, or it is not a VideoMAE, or not finite; the message
            lists tensors that do not fit.
    """
    weights = _read(hub.find_model(path), heads or {}, norm_pix_loss is not False)
    for name, value in weights.params.items():
        if not np.isfinite(value).all():
            raise CheckpointError(
                f"{weights.origin}: {name} holds NaN or infinite numbers; take an earlier "
                "checkpoint or get the file again"
            )
    return weights


def _read(path: AnyPath, heads: Mapping[str, int], normalised: bool) -> Weights:
    if path.is_file():
        config = path.parent / "config.json"
        return _read_tensors(path, config if config.is_file() else None, heads, normalised)
    if not path.is_dir():
        raise CheckpointError(
            f"nothing at {absolute(path)}; give the folder of a run, a Hugging Face folder, the "
            "name of a model of the Hub, as MCG-NJU/videomae-base, or a file of tensors "
            f"({', '.join(_TENSOR_SUFFIXES)})"
        )
    found = runs.find_run(path)
    if found is not None:
        return _read_run(*found)
    deepspeed = tensors.deepspeed_file(path)
    if deepspeed is not None:
        return _read_tensors(deepspeed, None, heads, normalised)
    files = [path / name for name in _TENSOR_FILES if (path / name).is_file()]
    if files and (path / "config.json").is_file():
        return _read_tensors(files[0], path / "config.json", heads, normalised)
    raise CheckpointError(
        f"{path} holds neither a run (config.json and checkpoints/) nor a Hugging Face model "
        f"(config.json and {' or '.join(_TENSOR_FILES)}) nor one that DeepSpeed saved"
    )


def write_original(path: AnyPath, weights: Weights) -> None:
    """Writes an autoencoder or a classifier in the original VideoMAE's layout.

    The file's name ends with .pth, .pt or .bin, which needs PyTorch, or .safetensors.

    Raises:
        CheckpointError: The model has no counterpart, or PyTorch is needed and not installed.
    """
    if path.suffix not in _TENSOR_SUFFIXES:
        raise CheckpointError(f"{path}: name a file that ends with {', '.join(_TENSOR_SUFFIXES)}")
    params = _predicting_rgb(weights)
    state = layouts.to_state(params, weights.architecture, "original", weights.origin)
    tensors.write(path, state)


def write_hugging_face(folder: AnyPath, weights: Weights) -> None:
    """Writes an autoencoder or a classifier as a folder for transformers' `from_pretrained`.

    Raises:
        CheckpointError: The model has no counterpart, or the size of its clips is unknown.
    """
    params = _predicting_rgb(weights)
    state = layouts.to_state(params, weights.architecture, "hugging_face", weights.origin)
    if weights.frames is None or weights.size is None:
        raise CheckpointError(
            f"{weights.origin} does not store the size of its clips; make a run of it (--to=run), "
            "and convert that"
        )
    config = hugging_face.make_config(
        weights.architecture,
        weights.frames,
        weights.size,
        weights.class_names
        or tuple(f"LABEL_{i}" for i in range(weights.architecture.num_classes or 0)),
        weights.norm_pix_loss,
    )
    config |= {"frame_sampling": weights.sampling}
    if config.get("norm_pix_loss") and weights.norm_pix_eps != 1e-6:
        logging.warning(
            "%s was trained with norm_pix_eps=%g; transformers computes its loss with 1e-6",
            *(weights.origin, weights.norm_pix_eps),
        )
    if weights.stride is not None and weights.sampling == "dense":
        config |= {"frame_sampling_rate": weights.stride}
    folder.mkdir(parents=True, exist_ok=True)
    tensors.write(folder / "model.safetensors", state)
    preprocessor = hugging_face.make_preprocessor_config(weights.size)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2))
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "README.md").write_text(model_card.make_card(config, weights.training))


def _predicting_rgb(weights: Weights) -> FlatParams:
    """The parameters for VideoMAE, whose targets without `norm_pix_loss` are RGB in [0, 1].

    Ours are `rgb.normalise`d, as the inputs are.
    """
    if weights.architecture.decoder is None or weights.norm_pix_loss:
        return weights.params
    return _with_head(weights.params, _DEVIATION, _MEAN)


def _predicting_ours(
    params: FlatParams, architecture: Architecture, norm_pix_loss: bool
) -> FlatParams:
    """The opposite of `_predicting_rgb`."""
    if architecture.decoder is None or norm_pix_loss:
        return params
    return _with_head(params, 1 / _DEVIATION, -_MEAN / _DEVIATION)


def _with_head(
    params: FlatParams, scale: Float64[np.ndarray, " 3"], offset: Float64[np.ndarray, " 3"]
) -> FlatParams:
    """Has an autoencoder predict `scale` times its colours plus `offset`."""
    kernel, bias = (params[f"decoder/head/{name}"] for name in ("kernel", "bias"))
    scale, offset = (np.tile(one, len(bias) // 3) for one in (scale, offset))
    head = {"decoder/head/kernel": kernel * scale, "decoder/head/bias": bias * scale + offset}
    return params | {name: array.astype(np.float32) for name, array in head.items()}


def _read_tensors(
    file: AnyPath, config_file: AnyPath | None, heads: Mapping[str, int], normalised: bool
) -> Weights:
    layout, state = layouts.find_layout(tensors.read(file), str(file))
    config = _read_config(config_file) if config_file else {}
    if layout == "hugging_face" and "model_type" in config:
        if config["model_type"] != "videomae":
            raise CheckpointError(
                f"{config_file}: model_type is {config['model_type']!r}; only 'videomae' is read"
            )
        preprocessor = file.parent / "preprocessor_config.json"
        if preprocessor.is_file():
            hugging_face.check_preprocessor(_read_config(preprocessor), str(file.parent))
        architecture = hugging_face.architecture_of(config, list(state), heads, str(file.parent))
        values = hugging_face.DEFAULTS | config
        params = layouts.from_state(state, architecture, layout, str(file))
        return Weights(
            _predicting_ours(params, architecture, values["norm_pix_loss"]),
            architecture,
            f"Hugging Face's {file.parent}",
            frames=values["num_frames"],
            size=values["image_size"],
            stride=values.get("frame_sampling_rate"),
            sampling=values.get("frame_sampling", "dense"),
            class_names=hugging_face.class_names(config) if architecture.num_classes else (),
            norm_pix_loss=values["norm_pix_loss"],
        )
    architecture = layouts.infer_architecture(state, layout, heads, str(file))
    params = layouts.from_state(state, architecture, layout, str(file))
    return Weights(
        _predicting_ours(params, architecture, normalised),
        architecture,
        f"{file}, in the {layout} layout",
        norm_pix_loss=normalised,
    )


def _read_config(file: AnyPath) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} holds no JSON object; get the file again")
    return config


def _read_run(workdir: AnyPath, step: int | None) -> Weights:
    run = runs.load_run(workdir, checkpoint="last" if step is None else step)
    config, num_classes = run.config, len(run.class_names)
    return Weights(
        traverse_util.flatten_dict(jax.device_get(run.params), sep="/"),
        architecture_lib.from_config(config, num_classes),
        f"the run {workdir}, step {run.step}",
        frames=config.data.clip_frames,
        size=config.data.size,
        stride=config.data.stride,
        sampling=config.data.sampling,
        class_names=run.class_names if config.task != "pretrain" else (),
        norm_pix_loss=config.get("norm_pix_loss", True),
        norm_pix_eps=config.get("norm_pix_eps", 1e-6),
        training=model_card.describe_run(run, workdir),
    )
