"""Finetuning on AVA Actions 2.2: what people in boxes do (Table 6).

    python -m mgm_jax.main --config=configs/ava_finetune.py \
        --config.init_from=PRETRAINED --config.data.path=DIR --workdir=WORKDIR \
        --config.eval.detections=ava_detection_val_boxes_and_labels.csv

`PRETRAINED` is a run of configs/k400_pretrain.py or, finetuned on K400 first, of k400_finetune.py.
Without `config.eval.detections` it is evaluated on the annotated boxes, which is not comparable
with published results. Arguments: `epochs`, `size`, `backbone`.

Data: AVA (about 211,000 training and 57,000 validation key frames of 235 and 64 films, 80 actions
of which 60 count), prepared by `data_prep`, and the boxes of a person detector for the validation
films as a csv file in AVA's form, such as those published with SlowFast.
Expected: the paper names no result on AVA. VideoMAE's code for AVA, whose values fill what Table 6
leaves open, states a frame mAP of 26.7 % for its ViT-B pretrained on K400, and 31.8 % finetuned
there as well. Not reproduced here.
Cost: about 1.1 TFLOP per clip (ViT-B, three times VideoMAE's 2 x 180 G multiply-adds), so the run
is 6.8 EFLOP: 4.7 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config, detect_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = detect_config.detect()
    base_config.apply_arg(
        config, arg, epochs="epochs", size="model.size", backbone="model.backbone"
    )
    return config
