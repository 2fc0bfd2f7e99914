"""Partial domain adaptation in miniature: minutes on two CPU cores (Table 3 is the real one).

    python -m data_prep.demo --domain_shift --out=runs/adaptation_data
    python -m mgm_jax.main --config=configs/demo_adaptation_finetune.py \
        --config.init_from=runs/demo --config.data.path=runs/adaptation_data \
        --workdir=runs/adaptation

Finetunes on coloured clips of 14 classes and evaluates on grey negatives of 7 of them, of which no
sample is trained on.
"""

from ml_collections import ConfigDict

from configs import common, demo_finetune


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    return common.with_argument(demo_finetune.get_config(), argument)
