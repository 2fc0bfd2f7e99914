"""The configs that recipes start from: the paper's Tables 5 and 6, and the arguments of a recipe.

A recipe (`configs/*.py`) starts from `pretrain`, `finetune` or `linear_probe` and changes what its
data needs. Every value can also be set on the command line: `--config.optimizer.base_lr=3e-4`.
"""

import difflib
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder
from ml_collections.config_flags import config_path

from mgm_jax.errors import ConfigError


def apply_arg(config: ConfigDict, arg: str, **arguments: str | tuple[str, ...]) -> dict[str, str]:
    """Changes a recipe's config by the recipe's argument, `--config=FILE:mask=smm,epochs=200`.

    Args:
        config: Changed in place.
        arg: What follows the colon.
        **arguments: The recipe's arguments: for each the dotted name of the value that it sets, or
            its choices, the default first.

    Returns:
        What was chosen, by the arguments that have choices.

    Raises:
        ConfigError: An argument that the recipe does not have, or a value that does not fit.
    """
    chosen = {name: known[0] for name, known in arguments.items() if isinstance(known, tuple)}
    names = ", ".join(arguments) or "none"
    for pair in filter(None, arg.split(",")):
        name, _, text = pair.partition("=")
        if name not in arguments:
            near = difflib.get_close_matches(name, arguments, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else f"it has {names}"
            raise ConfigError(f"the recipe has no argument {name!r}; {hint}")
        known = arguments[name]
        if isinstance(known, tuple):
            if text not in known:
                raise ConfigError(
                    f"the recipe's argument {name}={text} must be one of {', '.join(known)}"
                )
            chosen[name] = text
        else:
            config.update_from_flattened_dict(
                {known: _parse(name, text, config_path.get_type(known, config))}
            )
    return chosen


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = "true or false" if kind is bool else f"of type {kind.__name__}"
        raise ConfigError(f"the recipe's argument {name}={text} must be {expected}") from None


def pretrain() -> ConfigDict:
    """Pretraining with motion-guided masking (Table 5)."""
    config = _base("pretrain")
    config.batch_size = 512
    config.epochs = 800.0
    config.warmup_epochs = 40.0

    config.data.crop = "multi_scale"
    config.data.motion = "auto"

    config.masking = ConfigDict()
    # mgm, mgm_sparse, smm, smm_sparse, random_block, random_tube or random.
    config.masking.strategy = "mgm"
    # Fraction of masked tokens: by default 0.75, and 0.9 for random_tube and random.
    config.masking.ratio = placeholder(float)
    config.masking.jitter = 0.5  # mgm, smm, smm_sparse: how much a box side changes, in tokens.
    config.masking.velocity = 1.0  # smm, smm_sparse: largest move per tubelet and axis, in tokens.
    # Beyond the paper, for mgm. "window" places the box where it covers the most motion.
    config.masking.guidance = "peak"
    config.masking.guide_first_tubelet = False  # The first box also follows the motion.
    config.masking.camera_compensation = "none"  # "median" subtracts the median displacement.

    config.model.decoder = _transformer()  # By default that of config.model.size.

    # Targets are the pixels of each tubelet normalised by its own mean and variance.
    config.norm_pix_loss = True
    # Added to the standard deviation, of RGB in [0, 1]. The target of a tubelet that is flat except
    # for compression is all noise with VideoMAE's 1e-6, and almost zero with 0.02.
    config.norm_pix_eps = 1e-6

    config.eval = ConfigDict()
    config.eval.holdout = 0.0  # Trains without the videos that finetuning would hold out.
    # Measures the loss, with fixed masks, on this split; by default on the videos held out.
    config.eval.split = placeholder(str)
    config.eval.subset = 64  # At most so many of these videos; 0 for all.

    config.pictures_every = 5000  # Steps between reconstructions, and between losses; 0 for none.
    config.num_pictures = 4
    return config


def finetune() -> ConfigDict:
    """Finetuning (Table 6); what the paper does not state is VideoMAE's."""
    config = _classification("finetune")
    config.batch_size = 128
    config.epochs = 100.0

    _augment(config)
    config.model.drop_path = 0.2
    config.model.head_dropout = 0.0
    config.model.head_init_scale = 0.001

    config.optimizer.base_lr = 5e-4
    config.optimizer.min_lr = 1e-6
    config.optimizer.layer_decay = 0.75
    return config


def _augment(config: ConfigDict) -> None:
    config.augment = ConfigDict()
    config.augment.rand_augment_layers = 4  # Operations per clip; 0 for none.
    config.augment.rand_augment_magnitude = 7.0
    config.augment.rand_augment_std = 0.5
    config.augment.rand_augment_probability = 0.5
    config.augment.erasing = 0.25  # Probability.
    config.augment.mixup = 0.8  # Parameter of the Beta distribution; 0 for none.
    config.augment.cutmix = 1.0  # Parameter of the Beta distribution; 0 for none.
    config.augment.mix_probability = 1.0
    config.augment.cutmix_share = 0.5  # Probability of cutmix instead of mixup.
    # Number of clips that are mixed with the same draw; VideoMAE mixes per GPU (4 to 32 clips).
    config.augment.mix_group_size = 16
    config.augment.label_smoothing = 0.1


def linear_probe() -> ConfigDict:
    """A linear classifier on frozen features.

    The paper gives no recipe; this is our own, with random crops as its only augmentation. Several
    learning rates train in one pass with one head each, and the best on a held-out part of the
    training set is kept.
    """
    config = _classification("linear_probe")
    config.batch_size = 128
    config.epochs = 30.0

    config.probe = ConfigDict()
    config.probe.learning_rate_factors = (1.0,)  # One head per factor of base_lr.
    config.probe.batch_norm = False  # MAE's BatchNorm before the heads.
    config.probe.layer_norm = False  # A plain LayerNorm of the mean instead of the encoder's.
    config.probe.held_out = 0.1  # Fraction of the training videos, to choose among several heads.

    config.optimizer.base_lr = 1e-3
    config.optimizer.min_lr = 0.0
    return config


def probe_as_m3video(config: ConfigDict) -> None:
    """Gives a linear probe the augmentation and normalisation of M³Video's code."""
    _augment(config)
    config.data.area = (0.25, 1.0)
    config.model.drop_path = 0.1
    config.optimizer.min_lr = 1e-6
    config.probe.layer_norm = True
    config.warmup_epochs = 5.0


def demo_vit(config: ConfigDict) -> None:
    """Sets a small ViT on the demo set, and values with which it learns in minutes."""
    small_vit(config)
    config.data.update(stride=1, size=64, host_crop_size=64)
    config.model.update(tubelet=(8, 8, 8), positions="sincos_axes")


def small_vit(config: ConfigDict) -> None:
    """Sets a small ViT on clips of 96 pixels, which trains in minutes on two CPU cores."""
    config.data.stride = 2
    config.data.size = 96
    config.data.host_crop_size = 128
    config.data.num_workers = 1
    config.model.size = "Ti"
    config.model.encoder.update(dim=128, depth=4, heads=4)
    config.model.tubelet = (4, 16, 16)
    config.model.dtype = "float32"
    if "decoder" in config.model:
        config.model.decoder.depth = 2


def _base(task: str) -> ConfigDict:
    config = ConfigDict()
    config.task = task
    config.mode = "train"  # "eval" evaluates the run's checkpoint.
    config.seed = 0

    config.batch_size = 0  # Videos per step over all devices and hosts.
    config.grad_accum_steps = 1  # Parts in which a step's batch is computed, to save memory.
    config.epochs = 0.0
    config.warmup_epochs = 0.0
    config.num_steps = placeholder(int)  # Overrides epochs.
    config.warmup_steps = placeholder(int)  # Overrides warmup_epochs.
    config.stop_at_step = placeholder(int)  # Stops early; the schedule is that of the whole run.
    config.init_from = ""  # Weights to start from: a run, or what mgm_jax.convert reads.

    config.data = ConfigDict()
    # "records" of data_prep, a "folder" of class folders of videos, or a "csv" that lists videos.
    config.data.source = "records"
    config.data.path = ""  # Folder or csv file.
    config.data.root = ""  # csv: folder that its paths are relative to; by default the csv's own.
    config.data.split = "train"  # Or a slice, as train[:600] or train[:10%].
    config.data.clip_frames = 16
    config.data.stride = 4  # From one sampled frame to the next, in frames.
    config.data.sampling = "dense"  # "segments": one frame from each of equal parts (TSN).
    config.data.size = 224  # Side of the model's input, pixels.
    config.data.host_crop_size = 256  # Side of the luma crop that is sent to the device, pixels.
    config.data.crop = ""  # "multi_scale", "random_resized", "random_square" or "centre".
    config.data.scales = (1.0, 0.875, 0.75, 0.66)  # multi_scale, random_square: of the short side.
    config.data.area = (0.08, 1.0)  # random_resized: fraction of the frame.
    config.data.flip = False  # Mirrors half of the clips.
    config.data.repeated_augmentation = 1  # Clips per video and step, with different crops.
    # "codec", "estimate" (block matching), "auto" (codec if possible, else estimate), "none", or
    # optical flow: "flow" from precomputed files, "raft" on the device between sampled frames.
    config.data.motion = "none"
    config.data.flow_path = ""  # flow: folder made by mgm_jax.flow.precompute.
    config.data.flow_weights = ""  # raft: .npz (mgm_jax/flow/weights.py).
    config.data.num_workers = 8  # Worker processes per host; 0 reads in threads.
    # Use frames in which FFmpeg has concealed damage; otherwise their clips are skipped.
    config.data.allow_damage = False
    config.data.max_bad_fraction = 0.05  # More unreadable clips than this stop the run.
    config.data.read_timeout = 600.0  # Seconds to wait for a batch before the run stops.

    config.model = ConfigDict()
    config.model.size = "B"  # Ti, S, B, L or H.
    config.model.backbone = "vit"  # "timesformer_divided", "timesformer_joint".
    # Fixed positions of a "vit": VideoMAE's "sincos", flat, or "sincos_axes", by axis (V-JEPA).
    config.model.positions = "sincos"
    config.model.tubelet = (2, 16, 16)  # Frames, pixels, pixels.
    config.model.dtype = "bfloat16"  # Of the computation; parameters are float32.
    config.model.drop_path = 0.0  # Rate of the last block; it rises linearly from 0.
    # "auto" takes what the processor has: "cudnn" (NVIDIA GPUs, bfloat16), "splash" (TPUs),
    # "chunked" (CPUs, many tokens) or "xla", the formula written out.
    config.model.attention = "auto"
    # Activations that the backward pass recomputes to save memory: "none", "full", or "dots" (all
    # but the outputs of linear layers).
    config.model.remat = "none"
    # Of linear layers: "xavier" (VideoMAE's pretraining) or "trunc_normal" (0.02; MViT).
    config.model.init = "xavier"
    config.model.encoder = _transformer()  # By default that of config.model.size.

    config.optimizer = ConfigDict()
    # Learning rates are for 256 videos per step and scale linearly with the batch size.
    config.optimizer.base_lr = 1.5e-4
    config.optimizer.min_lr = 1e-5
    config.optimizer.warmup_lr = 0.0  # At the start of the warm-up.
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.95
    config.optimizer.eps = 1e-8
    config.optimizer.weight_decay = 0.05
    config.optimizer.layer_decay = 1.0  # Ratio of the learning rates of successive layers.
    config.optimizer.clip_norm = placeholder(float)

    config.mesh = ConfigDict()
    config.mesh.data = -1  # -1: all devices that the other axes leave.
    config.mesh.fsdp = 1  # Devices that divide the batch, parameters and optimizer state.
    config.mesh.tensor = 1  # Devices that divide attention heads and MLPs.

    config.log_every = 50  # Steps.
    config.tracker = "none"  # "wandb" sends the metrics to Weights & Biases too.
    config.checkpoint_every = 1000  # Steps.
    config.checkpoints_kept = 2  # The newest; the best is kept besides.
    config.profile_steps = (0, 0)  # First and last step to trace; (0, 0) for none.
    config.allow_config_change = False  # Resume although values differ from the checkpoint's.
    return config


def _classification(task: str) -> ConfigDict:
    config = _base(task)
    config.data.crop = "random_resized"
    config.data.repeated_augmentation = 2
    config.optimizer.b2 = 0.999

    config.eval = ConfigDict()
    config.eval.source = placeholder(str)  # These three override those of the training data.
    config.eval.path = placeholder(str)
    config.eval.root = placeholder(str)
    config.eval.split = "validation"
    config.eval.holdout = 0.0  # Evaluates on this fraction of each class's training videos instead.
    config.eval.allow_overlap = False  # Accept videos that are trained on.
    config.eval.temporal_views = 5
    config.eval.spatial_views = 3
    config.eval.batch_size = 16  # Temporal views of videos per step.
    # During training: one view (detection: all) of a subset. At the end: all views of all videos.
    config.eval.every = 1000
    config.eval.subset = 1000
    config.eval.checkpoint = "last"  # mode=eval: or "best", by the accuracy on the subset.
    return config


def _transformer() -> ConfigDict:
    """Shape of a transformer; None takes it from `model.size`."""
    return ConfigDict({name: placeholder(int) for name in ("dim", "depth", "heads")})
