import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mgm_jax.preprocessing import rgb

WINDOW, SIZE, FRAMES = 48, 32, 2
# BT.601, full range: the colours of a JPEG.
FULL_RANGE = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])
YUV_TO_RGB = np.concatenate([FULL_RANGE, FULL_RANGE @ [[0], [-128], [-128]]], axis=1) / 255


def make_batch(rng, boxes, flips):
    clips = len(boxes)
    return {
        "luma": rng.integers(0, 256, (clips, FRAMES, WINDOW, WINDOW), np.uint8),
        "chroma": rng.integers(0, 256, (clips, FRAMES, WINDOW // 2, WINDOW // 2, 2), np.uint8),
        "crop_box": np.array(boxes, np.float32),
        "flip": np.array(flips),
        "yuv_to_rgb": np.repeat(YUV_TO_RGB[None], clips, axis=0).astype(np.float32),
    }


def pillow_resize(plane, box, size):
    top, left, height, width = (int(side) for side in box)
    image = Image.fromarray(plane[top : top + height, left : left + width].astype(np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


BOXES = [(0, 0, 48, 48), (4, 8, 40, 36), (10, 2, 32, 32), (20, 12, 20, 24)]


def test_crop_resize_and_colours_equal_pillow_on_the_cropped_planes():
    batch = make_batch(np.random.default_rng(0), BOXES, [False, True, False, True])
    clips = np.asarray(jax.jit(rgb.batch_to_rgb, static_argnames="size")(batch, size=SIZE))
    for clip, box in enumerate(BOXES):
        half_box = [side // 2 for side in box]
        for frame in range(FRAMES):
            yuv = np.stack(
                [
                    pillow_resize(batch["luma"][clip, frame], box, SIZE),
                    pillow_resize(batch["chroma"][clip, frame, ..., 0], half_box, SIZE),
                    pillow_resize(batch["chroma"][clip, frame, ..., 1], half_box, SIZE),
                ],
                axis=-1,
            )
            expected = yuv @ YUV_TO_RGB[:, :3].T + YUV_TO_RGB[:, 3]
            if batch["flip"][clip]:
                expected = expected[:, ::-1]
            np.testing.assert_allclose(clips[clip, frame], np.clip(expected, 0, 1), atol=2e-5)


@pytest.mark.parametrize(("start", "length"), [(0.0, 48.0), (3.3, 17.9), (10.0, 32.0)])
def test_resize_matrix_averages_and_follows_a_ramp(start, length):
    start, length = jnp.float32(start), jnp.float32(length)
    matrix, mirrored = (
        np.asarray(rgb.resize_matrix(start, length, jnp.asarray(flip), SIZE, WINDOW))
        for flip in (False, True)
    )
    np.testing.assert_array_equal(mirrored, matrix[::-1])
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    ramp = matrix @ (np.arange(WINDOW) + 0.5)
    expected = start + (np.arange(SIZE) + 0.5) * length / SIZE
    np.testing.assert_allclose(ramp[2:-2], expected[2:-2], atol=0.15)


def test_a_tpus_three_passes_keep_the_colours():
    batch = make_batch(np.random.default_rng(0), BOXES[:1], [False])
    traced = jax.jit(rgb.batch_to_rgb, static_argnames="size").trace(batch, size=SIZE)
    text = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("tpu", "cuda")}
    assert text["tpu"].count("precision = [HIGH, HIGH]") == 3  # Y, U and V.
    assert "[HIGH, HIGH]" not in text["cuda"]  # TF32 there.

    # Three passes multiply samples, which are exact, by weights in two parts of bfloat16.
    samples = jnp.arange(256, dtype=jnp.float32)
    np.testing.assert_array_equal(samples.astype(jnp.bfloat16).astype(jnp.float32), samples)
    weights = rgb.resize_matrix(
        jnp.float32(3.3), jnp.float32(17.9), jnp.asarray(False), SIZE, WINDOW
    )
    large = weights.astype(jnp.bfloat16).astype(jnp.float32)
    small = (weights - large).astype(jnp.bfloat16).astype(jnp.float32)
    lost = np.abs(np.asarray(weights - large - small)).sum(axis=1)  # Times 255 / 255.
    assert lost.max() < 1e-5


def test_normalise_is_imagenet_statistics():
    grey = jnp.array([0.485, 0.456, 0.406])
    np.testing.assert_allclose(rgb.normalise(grey), 0, atol=1e-6)
    np.testing.assert_allclose(rgb.normalise(grey + jnp.array([0.229, 0.224, 0.225])), 1, atol=1e-6)
