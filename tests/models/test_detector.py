import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from mgm_jax.models import detector


def kernel_of_torchvision(features, box, bins):
    """`roi_align` of its C++ kernel with sampling_ratio=0, sample by sample."""
    height, width = features.shape[:2]
    start = np.float32(box[[1, 0]])
    span = np.maximum(np.float32(box[[3, 2]]) - start, 1)
    count = np.ceil(span / bins).astype(int)
    result = np.zeros((bins, bins, features.shape[2]))
    for place in np.ndindex(bins, bins, *count):
        row, column = start + (place[:2] + (np.array(place[2:]) + 0.5) / count) * span / bins
        if not (-1 <= row <= height and -1 <= column <= width):
            continue
        row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
        top, left = min(int(row), height - 1), min(int(column), width - 1)
        down, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = row - top, column - left
        result[place[:2]] += (1 - dy) * ((1 - dx) * features[top, left] + dx * features[top, right])
        result[place[:2]] += dy * ((1 - dx) * features[down, left] + dx * features[down, right])
    return result / max(count.prod(), 1)


@pytest.mark.parametrize("size", [(14, 14), (5, 9), (16, 29)])
def test_roi_align_is_torchvisions(size):
    r = np.random.default_rng(0)
    corners = r.uniform(0, 1, (2, 8, 2, 2))
    boxes = np.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=-1)
    boxes *= [size[1], size[0]] * 2
    # The whole frame, a point, less than a place at the border, one row.
    boxes[0, :2] = [[0, 0, size[1], size[0]], [2, 3, 2, 3]]
    boxes[1, :2] = [[size[1] - 0.2, size[0] - 0.3, size[1], size[0]], [1, 2, 4, 2.5]]
    features = r.standard_normal((2, *size, 3)).astype(np.float32)
    found = jax.jit(detector.roi_align, static_argnums=2)(features, jnp.float32(boxes), 7)
    for clip, clip_boxes, rows in zip(features, boxes.astype(np.float32), found, strict=True):
        expected = [kernel_of_torchvision(clip, box, 7) for box in clip_boxes]
        np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_roi_align_by_hand():
    features = jnp.arange(16.0).reshape(1, 4, 4, 1)
    # Samples of a box of 2x2 places lie at 0.5 and 1.5: between the centres of places 0, 1 and 2.
    found = detector.roi_align(features, jnp.array([[[0.0, 0.0, 2.0, 2.0]]]), 2)
    np.testing.assert_allclose(found[0, 0, :, :, 0], [[2.5, 3.5], [6.5, 7.5]])
    # Four rows in two bins: two samples a bin, of which the last lies past the last centre.
    tall = detector.roi_align(features, jnp.array([[[1.0, 0.0, 2.0, 4.0]]]), 2)
    np.testing.assert_allclose(tall[0, 0, :, 0, 0], [1.25 + 4, 1.25 + (10 + 12) / 2])


@pytest.fixture(scope="module")
def model():
    return detector.Detector(
        tiny_models.encoder_config(), tiny_models.GRID, tiny_models.CLASSES, tiny_models.TUBELET
    )


def test_a_box_sees_the_tokens_that_it_covers(model):
    clips = tiny_models.clips()
    boxes = jnp.array([[[0, 0, 4, 4], [0, 0, 12, 8]]] * 2, jnp.float32)
    params = tiny_models.random_params(model, clips, boxes)
    logits = model.apply({"params": params}, clips, boxes)
    assert logits.shape == (2, 2, tiny_models.CLASSES)
    encoder = model.bind({"params": params}).encoder
    tokens = encoder(clips).reshape(2, *tiny_models.GRID, -1).mean(axis=1)
    pooled = detector.roi_align(tokens, boxes / 4, 7).max(axis=(2, 3))
    head = params["head"]
    np.testing.assert_allclose(logits, pooled @ head["kernel"] + head["bias"], rtol=2e-5, atol=1e-5)
    # Boxes do not see each other: another order gives the same.
    swapped = model.apply({"params": params}, clips, boxes[:, ::-1])
    np.testing.assert_allclose(swapped[:, ::-1], logits, rtol=1e-5, atol=1e-5)
