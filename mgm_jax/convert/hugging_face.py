"""A VideoMAE's config.json and preprocessor_config.json in a Hugging Face folder.

One value cannot be written there: transformers always gives `fc_norm` and the decoder's last
LayerNorm an eps of 1e-5, while VideoMAE was trained with 1e-6. For the exact numbers of this
project, set it after loading: `model.fc_norm.eps = 1e-6`, or `model.decoder.norm.eps = 1e-6`. The
other LayerNorms take theirs from config.json. preprocessor_config.json holds ImageNet's mean and
standard deviation, by which clips are normalised here; transformers' default is 0.5 and 0.5.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from mgm_jax.convert.architecture import Architecture
from mgm_jax.errors import CheckpointError
from mgm_jax.models.layers import TransformerConfig
from mgm_jax.preprocessing import rgb

DEFAULTS: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 16,
    "num_frames": 16,
    "tubelet_size": 2,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "use_mean_pooling": True,
    "decoder_num_attention_heads": 6,
    "decoder_hidden_size": 384,
    "decoder_num_hidden_layers": 4,
    "decoder_intermediate_size": 1536,
    "norm_pix_loss": True,
}
"""Defaults of `VideoMAEConfig` for what a config.json leaves out."""

# What else changes the numbers of a model, with the values under which it is VideoMAE's.
_FIXED = {"hidden_act": ("gelu",), "qkv_bias": (True,), "num_channels": (3,)}
_LARGEST = 1 << 16  # No number of a VideoMAE comes near.
_LARGEST_EPS = 1e-5  # Of its LayerNorms; below, a trained model gives the same numbers.

# Key in config.json that marks folders that this project wrote.
_MARK = "exported_by"


def architecture_of(
    config: Mapping[str, Any], names: Sequence[str], heads: Mapping[str, int], where: str
) -> Architecture:
    """Reads the architecture from a config.json, and its kind from the names of the tensors.

    *Decision*: an encoder of width 384 with 16 heads is taken to have `heads["encoder"]`, or 6:
    VideoMAE-S was trained with 6, but transformers' converter writes 16 for it. This does not
    apply to folders that this project wrote.

    Raises:
        CheckpointError: The model has a feature that is not supported.
    """
    _check(config, where)
    values = DEFAULTS | dict(config)
    for name, part in (
        ("image_size", "patch_size"),
        ("num_frames", "tubelet_size"),
        ("hidden_size", "num_attention_heads"),
        ("decoder_hidden_size", "decoder_num_attention_heads"),
    ):
        if values[name] % values[part]:
            raise CheckpointError(
                f"{where}: {name}={values[name]} in its config.json is no multiple of "
                f"{part}={values[part]}"
            )
    if "classifier.weight" in names and not values["use_mean_pooling"]:
        raise CheckpointError(
            f"{where} classifies by its first token; only classifiers that average all tokens "
            "(use_mean_pooling) are supported"
        )
    encoder_heads = values["num_attention_heads"]
    if (values["hidden_size"], encoder_heads) == (384, 16) and _MARK not in config:
        encoder_heads = heads.get("encoder", 6)
        logging.warning(
            "%s has 16 heads, which transformers' converter writes for VideoMAE-S by mistake; "
            "read as %d heads (--encoder_heads sets the number)",
            where,
            encoder_heads,
        )
    autoencoder = "mask_token" in names
    return Architecture(
        encoder=_transformer(values | {"num_attention_heads": encoder_heads}),
        tubelet=(values["tubelet_size"], values["patch_size"], values["patch_size"]),
        decoder=_transformer(values, "decoder_") if autoencoder else None,
        num_classes=len(class_names(config)) if "classifier.weight" in names else None,
        final_norm=autoencoder or not values["use_mean_pooling"],
    )


def _check(config: Mapping[str, Any], where: str) -> None:
    for name, value in config.items():
        default = DEFAULTS.get(name)
        if name in _FIXED:
            fits = any(value == one and type(value) is type(one) for one in _FIXED[name])
            expected = f"only {_FIXED[name][0]!r} is supported"
        elif isinstance(default, bool):
            fits, expected = isinstance(value, bool), "it must be true or false"
        elif name == "layer_norm_eps":
            fits = type(value) in (int, float) and 0 <= value <= _LARGEST_EPS
            expected = f"it must be a number of 0 to {_LARGEST_EPS:g}"
        elif name == "frame_sampling":
            fits, expected = value in ("dense", "segments"), "it must be 'dense' or 'segments'"
        elif name == "frame_sampling_rate" or default is not None:
            fits = type(value) is int and 0 < value <= _LARGEST
            expected = f"it must be one whole number, of 1 to {_LARGEST}"
        elif name == "id2label":
            fits = value is None or (
                isinstance(value, Mapping)
                and list(map(str, range(len(value)))) == sorted(value, key=lambda n: (len(n), n))
                and all(isinstance(label, str) for label in value.values())
            )
            expected = "it must give a name to each of the classes '0', '1', '2' and so on"
        else:
            continue
        if not fits:
            raise CheckpointError(f"{where}: {name} in its config.json is {value!r}; {expected}")


def check_preprocessor(config: Mapping[str, Any], where: str) -> None:
    """Compares the normalisation in a preprocessor_config.json with this project's.

    Raises:
        CheckpointError: The model takes clips of another mean and standard deviation.
    """
    own = {"image_mean": list(rgb.MEAN), "image_std": list(rgb.STANDARD_DEVIATION)}
    found = {name: config.get(name, [0.5, 0.5, 0.5]) for name in own}
    if not config.get("do_normalize", True) or found != own:
        raise CheckpointError(
            f"{where}: its preprocessor_config.json normalises clips by {found}; only {own} is "
            "supported. If the file is wrong, as those of transformers' conversion script are, "
            "correct or remove it"
        )


def _transformer(values: Mapping[str, Any], prefix: str = "") -> TransformerConfig:
    dim = values[f"{prefix}hidden_size"]
    return TransformerConfig(
        dim,
        values[f"{prefix}num_hidden_layers"],
        values[f"{prefix}num_attention_heads"],
        values[f"{prefix}intermediate_size"] / dim,
    )


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes; transformers does not write those of two unnamed classes."""
    names = config.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"}
    return tuple(names[key] for key in sorted(names, key=int))


def make_config(
    architecture: Architecture,
    frames: int,
    size: int,
    classes: Sequence[str],
    norm_pix_loss: bool,
) -> dict[str, Any]:
    """The config.json of a classifier or, without classes, of an autoencoder.

    Clips have `frames` frames of `size` x `size` pixels.
    """
    encoder, decoder = architecture.encoder, architecture.decoder
    config = {
        "model_type": "videomae",
        "architectures": [
            "VideoMAEForVideoClassification" if classes else "VideoMAEForPreTraining"
        ],
        _MARK: "mgm_jax",
        "image_size": size,
        "patch_size": architecture.tubelet[1],
        "num_channels": 3,
        "num_frames": frames,
        "tubelet_size": architecture.tubelet[0],
        "hidden_size": encoder.dim,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.heads,
        "intermediate_size": int(encoder.dim * encoder.mlp_ratio),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "use_mean_pooling": decoder is None,
        "torch_dtype": "float32",
    }
    if decoder is not None:
        return config | {
            "decoder_hidden_size": decoder.dim,
            "decoder_num_hidden_layers": decoder.depth,
            "decoder_num_attention_heads": decoder.heads,
            "decoder_intermediate_size": int(decoder.dim * decoder.mlp_ratio),
            "norm_pix_loss": norm_pix_loss,
        }
    return config | {
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
    }


def make_preprocessor_config(size: int) -> dict[str, Any]:
    """The preprocessor_config.json: resize the short side, crop the centre, normalise."""
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(rgb.MEAN),
        "image_std": list(rgb.STANDARD_DEVIATION),
    }
