"""Converts models between runs of this project, Hugging Face's folders and VideoMAE's own files.

    python -m mgm_jax.convert --source=runs/ssv2 --out=exported --to=hugging_face
    python -m mgm_jax.convert --source=runs/ssv2 --out=ssv2.pth --to=original
    python -m mgm_jax.convert --source=exported --out=runs/imported --to=run \
        --config=configs/ssv2_pretrain.py

The source is whatever `--config.init_from` takes: the folder of a run (its last checkpoint), a
Hugging Face folder, or a file of tensors in either layout. Training needs no conversion: pass the
source as `--config.init_from`. `--to=run` makes a run at step 0 from a recipe, to evaluate,
visualize or train further. Only .pth, .pt and .bin files need PyTorch.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from mgm_jax import config as config_lib
from mgm_jax.convert import init_from
from mgm_jax.convert import weights as weights_lib
from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.io import AnyPath, make_path
from mgm_jax.models import vit
from mgm_jax.program import run_program
from mgm_jax.training import runs, tasks
from mgm_jax.training.checkpoints import Checkpoints


def write_run(
    workdir: AnyPath,
    source: str | AnyPath,
    config: ConfigDict,
    class_names: Sequence[str],
) -> None:
    """Makes a run whose checkpoint, at step 0, holds the parameters of `source` (`weights.read`).

    Raises:
        CheckpointError: The parameters are not exactly those of the config's model.
        ConfigError: The config has an invalid value.
    """
    config_lib.check_values(config)
    task = tasks.make_task(config, tuple(class_names))
    params, report = init_from.initialise(
        jax.eval_shape(task.init_fn).params, source, config=config
    )
    if report.fresh or report.dropped:
        raise CheckpointError(f"{source} is not the whole model of the recipe:\n{report}")
    # Without the parameters: they are replaced, and initialising them is slow.
    state = jax.jit(lambda: dataclasses.replace(task.init_fn(), params=None))()
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.save(0, dataclasses.replace(state, params=params), {}, config)
    checkpoints.close()
    runs.describe_run(workdir, config, class_names)


def convert(
    source: str | AnyPath,
    out: str | AnyPath,
    to: Literal["hugging_face", "original", "run"],
    *,
    config: ConfigDict | None = None,
    class_names: Sequence[str] = (),
    heads: Mapping[str, int] | None = None,
) -> None:
    """Reads a model, as `weights.read` does with `heads`, and writes it in another form.

    `out` is a folder, or for "original" a file; nothing is overwritten. "run" needs the `config` of
    the run. `class_names` replace those that the source stores.

    Raises:
        CheckpointError: The source cannot be read, or has no counterpart in this form.
        ConfigError: The arguments contradict each other or the source, or `out` exists.
    """
    out = make_path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"{out} exists; give another --out, or remove it")
    if (to == "run") != (config is not None):
        raise ConfigError("--to=run needs a recipe (--config), and only --to=run takes one")
    weights = weights_lib.read(source, heads)
    logging.info("read %s: %s", weights.origin, weights.architecture)
    for part, number in (heads or {}).items():
        shape = getattr(weights.architecture, part)
        if shape is None or shape.heads != number:
            own = f"{shape.heads} heads in its {part}" if shape else f"no {part}"
            raise ConfigError(f"--{part}_heads={number}: {weights.origin} has {own}")
    num_classes = weights.architecture.num_classes or 0
    if class_names and len(class_names) != num_classes:
        raise ConfigError(f"--classes: {len(class_names)} class names for {num_classes} classes")
    if class_names and to == "original":
        raise ConfigError("--classes has no effect with --to=original, whose files name no classes")
    class_names = tuple(class_names) or weights.class_names
    if config is not None:
        _compare(weights, config, heads or {})
        write_run(out, source, config, class_names or tuple(map(str, range(num_classes))))
    elif to == "hugging_face":
        weights_lib.write_hugging_face(out, dataclasses.replace(weights, class_names=class_names))
        norm = "fc_norm" if num_classes else "decoder.norm"
        logging.info("transformers gives %s eps 1e-5; for the same numbers set it to 1e-6", norm)
    else:
        weights_lib.write_original(out, weights)
    logging.info("wrote %s", out)


def _compare(weights: weights_lib.Weights, config: ConfigDict, heads: Mapping[str, int]) -> None:
    """Compares what the source says of its model, clips and targets with the config of the run."""
    kind = "autoencoder" if config.task == "pretrain" else "classifier"
    if weights.architecture.kind != kind:
        raise ConfigError(
            f"{weights.origin} ({weights.architecture.kind}) is no {kind}, as a run of config.task="
            f"{config.task} needs; give another recipe, or train one with --config.init_from"
        )
    own_heads = {"encoder": vit.transformer_config(config.model, "encoder").heads}
    if config.task == "pretrain":
        own_heads["decoder"] = vit.transformer_config(config.model, "decoder").heads
    for part, number in heads.items():
        if own_heads.get(part, number) != number:
            raise ConfigError(
                f"--{part}_heads={number}, but the recipe's model has {own_heads[part]}; set "
                f"--config.model.{part}.heads={number}"
            )
    if weights.frames is None:
        return  # A file of tensors says nothing.
    data = config.data
    pairs = {
        "data.clip_frames": (weights.frames, data.clip_frames),
        "data.size": (weights.size, data.size),
        "data.stride": (weights.stride or data.stride, data.stride),
        "data.sampling": (weights.sampling, data.sampling),
    }
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            logging.warning("config.%s: %s in %s, %s here", name, theirs, weights.origin, ours)
    own = config.get("norm_pix_loss")
    if weights.architecture.decoder and own not in (None, weights.norm_pix_loss):
        raise ConfigError(
            f"{weights.origin} was trained with norm_pix_loss={weights.norm_pix_loss}; set "
            f"--config.norm_pix_loss={weights.norm_pix_loss}"
        )


def _define_flags() -> None:
    flags.DEFINE_string("source", None, "Run, Hugging Face folder or file.", required=True)
    flags.DEFINE_string("out", None, "Folder, or file for --to=original.", required=True)
    flags.DEFINE_enum("to", None, ["hugging_face", "original", "run"], "Form.", required=True)
    config_flags.DEFINE_config_file("config", None, "--to=run: its recipe.")
    flags.DEFINE_string("classes", None, "JSON file: list of class names, if the source has none.")
    for part in ("encoder", "decoder"):
        flags.DEFINE_integer(f"{part}_heads", None, "Attention heads, if not stored.", 1)


def _read_classes(file: str) -> list[str]:
    try:
        names = json.loads(pathlib.Path(file).read_text())
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("for instance, an object of names and numbers has no order")
        if len(set(names)) < len(names):
            raise ValueError("a name occurs twice")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--classes={file} is not a JSON list of names, in the order of the classes: {error}"
        ) from error
    return names


def main(_: Sequence[str]) -> None:
    """Converts as the flags say."""
    args = flags.FLAGS
    heads = {"encoder": args.encoder_heads, "decoder": args.decoder_heads}
    convert(
        args.source,
        args.out,
        args.to,
        config=args.config,
        class_names=_read_classes(args.classes) if args.classes else (),
        heads={part: number for part, number in heads.items() if number is not None},
    )


if __name__ == "__main__":
    _define_flags()
    run_program(main)
