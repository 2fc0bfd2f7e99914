"""Finetuning on UCF101, HMDB51 or Diving48 (Table 6), and partial domain adaptation (Table 3).

    python -m mgm_jax.main --config=configs/transfer_finetune.py:dataset=ucf101 \
        --config.init_from=PRETRAINED --config.data.path=DIR --workdir=WORKDIR

Arguments: `dataset`, `epochs`, `views` (temporal views of the test), `backbone`, `size`.

Data, prepared by `data_prep`, and results of the paper (ViT-B, top-1 in %) after 800 epochs of
pretraining on K400 / SSv2 (Table 2). Not reproduced here.

    dataset       training   test clips   classes   K400 / SSv2
    ucf101           9,537        3,783       101   94.2 / 91.9   (list 01)
    hmdb51           3,570        1,530        51   74.6 / 69.7   (split 1)
    diving48        15,027        1,970        48   70.2 / 83.1   (V2)

Partial domain adaptation finetunes on the source alone (split `train`) and evaluates on the target
(split `test`), which has 7 of the source's 14 classes. The rows "+K400 finetune" of Table 3 start
from a checkpoint of configs/k400_finetune.py.

    dataset       training   test clips   Table 3, and with "+K400 finetune"
    ucf14_hmdb7      1,324          210   57.6, 79.1
    hmdb14_ucf7        980          266   71.4, 96.2

Cost: about 1.1 TFLOP per clip (ViT-B, three times VideoMAE's 2 x 180 G multiply-adds): on UCF101
2.1 EFLOP, or 1.4 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config

LAYER_DECAY = {
    "ucf101": 0.75,
    "hmdb51": 0.7,
    "diving48": 0.7,
    "ucf14_hmdb7": 0.75,
    "hmdb14_ucf7": 0.7,
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.finetune()
    chosen = base_config.apply_arg(
        config,
        arg,
        dataset=tuple(LAYER_DECAY),
        epochs="epochs",
        views="eval.temporal_views",
        backbone="model.backbone",
        size="model.size",
    )

    config.data.flip = True

    config.model.drop_path = 0.2
    # VideoMAE's script for UCF101, taken for all; the mixed clips are a GPU's: 16 videos twice.
    config.model.head_dropout = 0.5
    config.augment.mix_group_size = 32
    config.optimizer.min_lr = 1e-5

    config.optimizer.base_lr = 5e-4
    config.optimizer.layer_decay = LAYER_DECAY[chosen["dataset"]]

    config.eval.split = "test"
    return config
