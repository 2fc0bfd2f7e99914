"""The config that recipes of detection start from: Table 6's column of AVA."""

from ml_collections import ConfigDict

from mgm_jax import base_config


def detect() -> ConfigDict:
    """Actions of people in boxes, as AVA (Table 6); what the paper does not state is VideoMAE's."""
    config = base_config.finetune()
    config.task = "detect"
    config.epochs = 30.0
    config.warmup_epochs = 5.0

    config.data.crop = "random_square"
    config.data.scales = (0.875,)  # 224 pixels of a short side of 256.
    config.data.flip = True
    config.data.repeated_augmentation = 1
    config.data.max_boxes = 32  # Of a clip; of more in training, a random choice.
    # Trains on boxes of this csv file as well, if the detector is so sure of them. Those that are
    # nearly an annotated box have its actions, those far from any have none.
    config.data.detections = ""
    config.data.detection_score = 0.9
    config.data.same_overlap = 0.9
    # Moves of a box's edges in training, as fractions of its width and height: left and right
    # outwards, inwards, upper and lower outwards, inwards.
    config.data.box_jitter = (0.2, 0.1, 0.1, 0.05)

    config.augment = ConfigDict()
    config.augment.colour_jitter = (20.0, 0.1, 0.1)  # Hue in degrees, saturation, brightness.

    config.optimizer.base_lr = 2.5e-4
    config.optimizer.layer_decay = 0.7

    config.eval.temporal_views = 1  # Around the key frame.
    config.eval.detections = ""  # Evaluates on these boxes instead of the annotated ones.
    config.eval.detection_score = 0.8
    config.eval.box_margin = (0.1, 0.05)  # Boxes are so much wider and higher.
    return config
