"""What every pretraining recipe shares: the paper's Table 5, and the shape of a config.

Every value can be overridden on the command line: `--config.optimizer.base_lr=3e-4`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def pretrain() -> ConfigDict:
    """The paper's pretraining with motion-guided masking; a dataset's recipe fills in the rest."""
    config = ConfigDict()
    config.seed = 0

    config.batch_size = 512  # Clips per step over all devices and hosts.
    config.epochs = 800.0
    config.warmup_epochs = 40.0
    config.num_steps = placeholder(int)  # Set: counts in steps instead of epochs.
    config.warmup_steps = placeholder(int)
    config.stop_at_step = placeholder(int)  # Stops early; the schedule stays that of the whole.

    config.data = ConfigDict()
    config.data.source = "records"  # "records" from data_prep, or "folder" of video files.
    config.data.path = ""
    config.data.split = "train"
    config.data.clip_frames = 16
    config.data.stride = 4
    config.data.sampling = "dense"  # Or "segments": one frame from each of equal parts (TSN).
    config.data.size = 224  # Side of the clip the model sees, pixels.
    config.data.window = 256  # Side of the luma window sent to the device, pixels.
    config.data.crop = "multi_scale"  # Or "random_resized", "centre".
    config.data.scales = (1.0, 0.875, 0.75, 0.66)
    config.data.area = (0.08, 1.0)  # random_resized: share of the frame.
    config.data.repeated_augmentation = 1  # Clips of the same frames with different crops.
    config.data.flip = False
    # "codec", "estimate", "auto" (codec, else estimate), "none"; optical flow from "flow" files
    # made ahead of time, or by "raft" on the accelerator, between the sampled frames.
    config.data.motion = "auto"
    config.data.motion_frames = "sampled"  # Or "accumulated": adds the frames in between.
    config.data.flow_path = ""  # flow: folder of mgm_jax.flow.precompute.
    config.data.flow_weights = ""  # raft: file of mgm_jax.flow.convert.
    config.data.num_workers = 8  # Worker processes per host; 0 reads in threads.
    config.data.max_skipped_share = 0.05  # More unreadable clips than this stop the run.

    config.masking = ConfigDict()
    config.masking.strategy = "mgm"
    config.masking.ratio = 0.75
    config.masking.jitter = 0.5  # Change of the box's sides per step, at most, in cells.
    config.masking.velocity = 1.0  # smm, smm_sparse: move of the box per step, at most, in cells.
    # Beyond the paper, for mgm: "window" puts the box where it covers the most motion; the first
    # box may follow motion too; camera motion may be taken off first ("median", "affine").
    config.masking.guidance = "peak"
    config.masking.guide_first_step = False
    config.masking.camera_compensation = "none"

    config.model = ConfigDict()
    config.model.size = "B"  # Ti, S, B, L, H.
    config.model.tubelet = (2, 16, 16)  # Frames, pixels, pixels.
    config.model.dtype = "bfloat16"  # Of the computation; parameters are float32.
    config.model.drop_path = 0.0
    config.model.attention = "xla"  # Or "cudnn", on NVIDIA GPUs in bfloat16.
    config.model.remat = False  # Compute activations again in the backward pass: less memory.
    for part in ("encoder", "decoder"):  # Set: instead of what the size says.
        config.model[part] = ConfigDict()
        config.model[part].dim = placeholder(int)
        config.model[part].depth = placeholder(int)
        config.model[part].heads = placeholder(int)

    config.target = "normalised_pixels"  # Each tubelet by its own statistics; or "pixels".

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.base_lr = 1.5e-4  # For 256 clips a step; scales with the batch.
    config.optimizer.min_lr = 1e-5  # The same.
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.95
    config.optimizer.eps = 1e-8
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = placeholder(float)

    config.mesh = ConfigDict()
    config.mesh.data = -1  # -1: the devices the other axes leave.
    config.mesh.fsdp = 1
    config.mesh.tensor = 1

    config.log_every = 50
    config.checkpoint_every = 1000
    config.checkpoints_kept = 2
    config.pictures_every = 5000  # Reconstructions into TensorBoard; 0 for none.
    config.num_pictures = 4
    config.profile_steps = (0, 0)  # (first, last) step to trace; (0, 0) for none.
    config.allow_config_change = False  # Resume although values differ from the checkpoint's.
    return config
