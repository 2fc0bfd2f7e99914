"""Makes reference.json: what torchvision's `raft_small` computes from made-up weights and images.

    pip install torch torchvision
    python -m tests.flow.make_reference

Weights and images come from a seed by numpy alone, so the tests make the same ones without torch.
"""

import json
import pathlib
from collections.abc import Mapping

import numpy as np

FILE = pathlib.Path(__file__).with_name("reference.json")
HEIGHT, WIDTH = 128, 160
_SAMPLES = 48


def make_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Uniform weights of variance 1 / fan-in, biases in ±0.1, in the order of their names."""
    rng = np.random.default_rng(1)
    weights = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        bound = np.sqrt(3 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        weights[name] = (bound * (2 * rng.random(shape) - 1)).astype(np.float32)
    return weights


def make_images() -> tuple[np.ndarray, np.ndarray]:
    """Two frames of a texture that moves by (3, 2) pixels, `[1, HEIGHT, WIDTH, 3]` in [0, 1]."""
    rng = np.random.default_rng(2)
    cells = rng.random((HEIGHT // 4 + 2, WIDTH // 4 + 2, 3))
    texture = np.kron(cells, np.ones((4, 4, 1))).astype(np.float32)
    return texture[None, 2:][:, :HEIGHT, 3 : WIDTH + 3], texture[None, :HEIGHT, :WIDTH]


def make_flow() -> np.ndarray:
    """A flow of up to ±6 cells, `[1, HEIGHT / 8, WIDTH / 8, 2]`, that leaves the frame."""
    rng = np.random.default_rng(3)
    return (12 * rng.random((1, HEIGHT // 8, WIDTH // 8, 2)) - 6).astype(np.float32)


def summarise(array: np.ndarray) -> dict[str, object]:
    """Shape, mean, standard deviation and some values of an array with the channels last."""
    chosen = np.linspace(0, array.size - 1, _SAMPLES).astype(int)
    return {
        "shape": list(array.shape),
        "mean": float(array.mean(dtype=np.float64)),
        "std": float(array.std(dtype=np.float64)),
        "values": [float(f"{value:.7g}") for value in array.ravel()[chosen]],
    }


def main() -> None:
    """Runs torchvision's network stage by stage."""
    import torch
    from torchvision.models import optical_flow

    def channels_first(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array).permute(0, 3, 1, 2)

    model = optical_flow.raft_small(weights=None).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    weights = make_weights(shapes)
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    image1, image2 = (2 * channels_first(image) - 1 for image in make_images())
    flow = channels_first(make_flow())
    rows, columns = torch.meshgrid(
        torch.arange(HEIGHT // 8.0), torch.arange(WIDTH // 8.0), indexing="ij"
    )
    stages = {}
    with torch.no_grad():
        stages["features1"] = model.feature_encoder(image1)
        stages["features2"] = model.feature_encoder(image2)
        stages["context"] = model.context_encoder(image1)
        model.corr_block.build_pyramid(stages["features1"], stages["features2"])
        stages["correlations"] = model.corr_block.index_pyramid(
            centroids_coords=flow + torch.stack([columns, rows])
        )
        hidden, context = stages["context"].split([96, 64], dim=1)
        stages["updated_hidden"], stages["flow_change"] = model.update_block(
            torch.tanh(hidden), torch.relu(context), stages["correlations"], flow
        )
        iterates = model(image1, image2)
        stages["first_flow"], stages["final_flow"] = iterates[0], iterates[-1]
    reference = {
        "torch": torch.__version__,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "stages": {
            name: summarise(array.permute(0, 2, 3, 1).contiguous().numpy())
            for name, array in stages.items()
        },
    }
    FILE.write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
