"""What the recipes share: the paper's Tables 5 and 6, and the shape of a config.

Every value can be overridden on the command line: `--config.optimizer.base_lr=3e-4`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def pretrain() -> ConfigDict:
    """The paper's pretraining with motion-guided masking; a dataset's recipe fills in the rest."""
    config = _shared("pretrain")
    config.batch_size = 512
    config.epochs = 800.0
    config.warmup_epochs = 40.0

    config.data.crop = "multi_scale"
    config.data.motion = "auto"

    config.masking = ConfigDict()
    config.masking.strategy = "mgm"
    config.masking.ratio = 0.75
    config.masking.jitter = 0.5  # Change of the box's sides per step, at most, in cells.
    config.masking.velocity = 1.0  # smm, smm_sparse: move of the box per step, at most, in cells.
    # Beyond the paper, for mgm: "window" puts the box where it covers the most motion; the first
    # box may follow motion too; "median" first subtracts the camera motion.
    config.masking.guidance = "peak"
    config.masking.guide_first_tubelet = False
    config.masking.camera_compensation = "none"

    config.model.decoder = _transformer()

    config.norm_pix_loss = True  # Each tubelet normalised by its own mean and variance.

    config.pictures_every = 5000  # Reconstructions into TensorBoard; 0 for none.
    config.num_pictures = 4
    return config


def finetune() -> ConfigDict:
    """The paper's finetuning (Table 6), filled in from VideoMAE where the paper is silent."""
    config = _classify("finetune")
    config.batch_size = 128
    config.epochs = 100.0
    config.warmup_epochs = 0.0

    config.data.crop = "random_resized"
    config.data.repeated_augmentation = 2

    config.augment = ConfigDict()
    config.augment.rand_augment_layers = 4  # 0 for none.
    config.augment.rand_augment_magnitude = 7.0
    config.augment.rand_augment_std = 0.5
    config.augment.rand_augment_probability = 0.5
    config.augment.erasing = 0.25  # Probability.
    config.augment.mixup = 0.8  # Parameter of the Beta distribution; 0 for none.
    config.augment.cutmix = 1.0  # The same.
    config.augment.mix_probability = 1.0
    config.augment.cutmix_share = 0.5  # Cutmix instead of mixup.
    # Neighbouring clips that share a draw: VideoMAE's are those of one GPU, 8 videos twice.
    config.augment.mix_group_size = 16
    config.augment.label_smoothing = 0.1

    config.model.drop_path = 0.2
    config.model.head_dropout = 0.0
    config.model.head_init_scale = 0.001

    config.optimizer.base_lr = 5e-4
    config.optimizer.min_lr = 1e-6
    config.optimizer.b2 = 0.999
    config.optimizer.layer_decay = 0.75
    return config


def linear_probe() -> ConfigDict:
    """A linear classifier of frozen features; the paper gives no recipe.

    The values are those of M³Video's code. With MAE's batch_norm and several learning rates in one
    pass, the rate is chosen on a held-out part of the training set.
    """
    config = _classify("linear_probe")
    config.batch_size = 128
    config.epochs = 30.0
    config.warmup_epochs = 0.0

    config.data.crop = "random_resized"
    config.data.repeated_augmentation = 2

    config.probe = ConfigDict()
    config.probe.learning_rate_factors = (1.0,)  # Of base_lr; one head each.
    config.probe.batch_norm = False
    config.probe.held_out = 0.1  # Share of the training videos, to choose among several heads.

    config.optimizer.base_lr = 1e-3
    config.optimizer.min_lr = 0.0
    config.optimizer.b2 = 0.999
    return config


def supervised() -> ConfigDict:
    """Finetuning from scratch: the same model without pretraining (Table 2, †)."""
    config = finetune()
    config.optimizer.layer_decay = 1.0
    return config


def _shared(task: str) -> ConfigDict:
    config = ConfigDict()
    config.task = task
    config.mode = "train"  # Or "eval": evaluates the run's checkpoint alone.
    config.seed = 0

    config.batch_size = 0  # Videos per step over all devices and hosts.
    config.grad_accum_steps = 1  # Parts in which a step's batch is computed, for less memory.
    config.epochs = 0.0
    config.warmup_epochs = 0.0
    config.num_steps = placeholder(int)  # Set: counts in steps instead of epochs.
    config.warmup_steps = placeholder(int)
    config.stop_at_step = placeholder(int)  # Stops early; the schedule stays that of the whole.
    # Weights to start from: the folder of a run, or what mgm_jax.convert reads.
    config.init_from = ""

    config.data = ConfigDict()
    # "records" of data_prep, a "folder" of class folders of videos, or a "csv" that lists videos.
    config.data.source = "records"
    config.data.path = ""
    config.data.root = ""  # csv: folder that the paths start from; its own by default.
    config.data.split = "train"
    config.data.clip_frames = 16
    config.data.stride = 4
    config.data.sampling = "dense"  # Or "segments": one frame from each of equal parts (TSN).
    config.data.size = 224  # Side of the clip the model sees, pixels.
    config.data.host_crop_size = 256  # Side of the luma window sent to the device, pixels.
    config.data.crop = ""  # "multi_scale", "random_resized" or "centre".
    config.data.scales = (1.0, 0.875, 0.75, 0.66)  # multi_scale: share of the short side.
    config.data.area = (0.08, 1.0)  # random_resized: share of the frame.
    config.data.flip = False
    config.data.repeated_augmentation = 1  # Clips of the same frames with different crops.
    # "codec", "estimate", "auto" (codec, else estimate), "none"; optical flow from "flow" files
    # made ahead of time, or by "raft" on the accelerator, between the sampled frames.
    config.data.motion = "none"
    config.data.flow_path = ""  # flow: folder of mgm_jax.flow.precompute.
    config.data.flow_weights = ""  # raft: file of mgm_jax.flow.convert.
    config.data.num_workers = 8  # Worker processes per host; 0 reads in threads.
    config.data.max_bad_fraction = 0.05  # More unreadable clips than this stop the run.
    config.data.read_timeout = 600.0  # Seconds to wait for a batch before the run stops.

    config.model = ConfigDict()
    config.model.size = "B"  # Ti, S, B, L, H.
    # The encoder's: "vit", "timesformer_divided" or "timesformer_joint".
    config.model.backbone = "vit"
    config.model.tubelet = (2, 16, 16)  # Frames, pixels, pixels.
    config.model.dtype = "bfloat16"  # Of the computation; parameters are float32.
    config.model.drop_path = 0.0
    # Or "cudnn" (NVIDIA GPUs, bfloat16), or "chunked" (CPUs: less memory and time for many tokens).
    config.model.attention = "xla"
    # Activations to compute again in the backward pass, for less memory: "none", "full", or "dots",
    # all but the outputs of linear layers.
    config.model.remat = "none"
    config.model.scan = False  # The blocks as a loop: compiles faster.
    config.model.encoder = _transformer()

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.base_lr = 1.5e-4  # For 256 videos a step; scales with the batch.
    config.optimizer.min_lr = 1e-5  # The same.
    config.optimizer.warmup_lr = 0.0  # Where the warm-up starts; the same.
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.95
    config.optimizer.eps = 1e-8
    config.optimizer.weight_decay = 0.05
    config.optimizer.layer_decay = 1.0  # Learning rate of a layer over that of the next.
    config.optimizer.clip_norm = placeholder(float)

    config.mesh = ConfigDict()
    config.mesh.data = -1  # -1: the devices the other axes leave.
    config.mesh.fsdp = 1
    config.mesh.tensor = 1

    config.log_every = 50
    config.checkpoint_every = 1000
    config.checkpoints_kept = 2
    config.profile_steps = (0, 0)  # (first, last) step to trace; (0, 0) for none.
    config.allow_config_change = False  # Resume although values differ from the checkpoint's.
    return config


def _classify(task: str) -> ConfigDict:
    config = _shared(task)
    config.eval = ConfigDict()
    config.eval.source = placeholder(str)  # Set: instead of the training data's.
    config.eval.path = placeholder(str)
    config.eval.root = placeholder(str)
    config.eval.split = "validation"
    config.eval.temporal_views = 5
    config.eval.spatial_views = 3
    config.eval.batch_size = 16  # Temporal views of videos per step.
    # During training: one view of some videos. All views of all at the end.
    config.eval.every = 1000
    config.eval.subset = 1000
    config.eval.checkpoint = "last"  # config.mode=eval: or "best", by the accuracy on the subset.
    return config


def _transformer() -> ConfigDict:
    """Shape of a transformer; what is set counts instead of what the size says."""
    return ConfigDict({name: placeholder(int) for name in ("dim", "depth", "heads")})


def take_shapes(config: ConfigDict, pretraining: ConfigDict) -> None:
    """Makes a recipe fit the model and the clips of a pretraining recipe."""
    clips = (
        "clip_frames",
        "stride",
        "size",
        "host_crop_size",
        "num_workers",
    )
    for name in clips:
        config.data[name] = pretraining.data[name]
    for name in ("size", "backbone", "tubelet", "dtype"):
        config.model[name] = pretraining.model[name]
    for name in ("dim", "depth", "heads"):
        config.model.encoder[name] = pretraining.model.encoder[name]


# What a recipe's argument may set: `--config=configs/ssv2_pretrain.py:mask=smm,epochs=200`.
ARGUMENTS = {
    "mask": "masking.strategy",
    "ratio": "masking.ratio",
    "jitter": "masking.jitter",
    "guidance": "masking.guidance",
    "motion": "data.motion",
    "epochs": "epochs",
    "backbone": "model.size",
    "views": "eval.temporal_views",
}


def with_argument(config: ConfigDict, argument: str | None) -> ConfigDict:
    """Applies a recipe's argument, `name=value` pairs with commas between.

    Args:
        config: The recipe; changed in place.
        argument: What follows the colon of `--config=FILE:ARGUMENT`.

    Returns:
        The recipe.

    Raises:
        ValueError: A name that the recipe has not, or a value of another type.
    """
    for pair in (argument or "").split(","):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        path = ARGUMENTS.get(name, "")
        if name == "backbone" and value.startswith("timesformer"):
            path = "model.backbone"
        known = dict(_flatten(config))
        if path not in known:
            usable = ", ".join(name for name, path in ARGUMENTS.items() if path in known)
            raise ValueError(f"the recipe takes no argument {name!r}; it takes {usable}")
        config.update_from_flattened_dict({path: type(known[path])(value)})
    return config


def _flatten(config: ConfigDict, prefix: str = "") -> list[tuple[str, object]]:
    pairs = []
    for name, value in config.items():
        inner = isinstance(value, ConfigDict)
        pairs += _flatten(value, f"{prefix}{name}.") if inner else [(prefix + name, value)]
    return pairs
