"""Makes reference.json: arguments of RandAugment's operations and mixed clips, by timm.

    pip install torch timm
    python -m tests.augment.make_reference

Of timm it runs two files alone, so torchvision need not work.
"""

import importlib.metadata
import importlib.util
import json
import pathlib
import sys
from types import ModuleType
from typing import Any

FILE = pathlib.Path(__file__).with_name("reference.json")
LEVELS = (0.0, 1.3, 4.9, 6.2, 7.0, 7.49, 7.6, 9.99, 10.0)
LABELS = (3, 0, 4, 1)
CLASSES = 5
SHARE = 0.3
FRAME = (6, 8)
BOX = (1, 4, 3, 8)  # top, bottom, left, right


def import_file(path: str) -> ModuleType:
    """Imports one file of timm, without the rest."""
    package = importlib.util.find_spec("timm")
    if package is None or package.origin is None:
        sys.exit("timm is not installed: pip install torch timm")
    file = pathlib.Path(package.origin).parent / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments_of_operations() -> dict[str, dict[str, list[float | None]]]:
    """The argument of each operation at each of `LEVELS`, in both directions."""
    augment = import_file("data/auto_augment.py")
    arguments = {}
    for name in augment._RAND_INCREASING_TRANSFORMS:
        arguments[name] = {}
        for sign in (1, -1):
            augment._randomly_negate = lambda value, sign=sign: sign * value
            function = augment.LEVEL_TO_ARG[name]
            arguments[name][f"{sign:+d}"] = [
                function(x, {})[0] if function else None for x in LEVELS
            ]
    return arguments


def mixed(use_cutmix: bool) -> dict[str, Any]:
    """What `Mixup` makes of four frames with the values 0, 1, 2, 3."""
    import torch

    module = import_file("data/mixup.py")
    module.rand_bbox = lambda *_, **__: BOX
    mixup = module.Mixup(num_classes=CLASSES, label_smoothing=0.1, mode="batch")
    mixup._params_per_batch = lambda: (SHARE, use_cutmix)
    frames = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, *FRAME).clone()
    frames, targets = mixup(frames, torch.tensor(LABELS))
    return {"frames": frames[:, 0].tolist(), "targets": targets.tolist()}


def main() -> None:
    """Writes the file."""
    reference = {
        "timm": importlib.metadata.version("timm"),
        "arguments": arguments_of_operations(),
        "mixup": mixed(use_cutmix=False),
        "cutmix": mixed(use_cutmix=True),
    }
    FILE.write_text(json.dumps(reference) + "\n")


if __name__ == "__main__":
    main()
