"""Makes reference.json: arguments of RandAugment's operations, and mixed clips, by timm.

pip install torch torchvision timm
python -m tests.preprocessing.make_reference
"""

import json
import pathlib

FILE = pathlib.Path(__file__).with_name("reference.json")
LEVELS = (0.0, 1.3, 4.9, 6.2, 7.0, 7.49, 7.6, 9.99, 10.0)
LABELS = (3, 0, 4, 1)
CLASSES = 5
SHARE = 0.3
FRAME = (6, 8)
BOX = (1, 4, 3, 8)  # top, bottom, left, right


def arguments_of_operations():
    """The argument of each operation at each of LEVELS, in both directions."""
    from timm.data import auto_augment

    arguments = {}
    for name in auto_augment._RAND_INCREASING_TRANSFORMS:
        arguments[name] = {}
        for sign in (1, -1):
            auto_augment._randomly_negate = lambda value, sign=sign: sign * value
            function = auto_augment.LEVEL_TO_ARG[name]
            arguments[name][f"{sign:+d}"] = [
                function(x, {})[0] if function else None for x in LEVELS
            ]
    return arguments


def mixed(use_cutmix):
    """What `Mixup` makes of four frames with the values 0, 1, 2, 3."""
    import torch
    from timm.data import mixup as module

    module.rand_bbox = lambda *_, **__: BOX
    mixup = module.Mixup(num_classes=CLASSES, label_smoothing=0.1, mode="batch")
    mixup._params_per_batch = lambda: (SHARE, use_cutmix)
    frames = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, *FRAME).clone()
    frames, targets = mixup(frames, torch.tensor(LABELS))
    return {"frames": frames[:, 0].tolist(), "targets": targets.tolist()}


if __name__ == "__main__":
    reference = {"arguments": arguments_of_operations()}
    reference |= {"mixup": mixed(use_cutmix=False), "cutmix": mixed(use_cutmix=True)}
    FILE.write_text(json.dumps(reference) + "\n")
