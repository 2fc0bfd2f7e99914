import encoded
import numpy as np
import pytest

from mgm_jax.data.motion.block_matching import estimate
from mgm_jax.data.motion.codec_vectors import rasterise


def shifted(dx, dy, height=144, width=176):
    """Two frames; the second is the first moved by (dx, dy)."""
    scene = encoded.scenery(height + 80, width + 80, seed=3)
    frames = encoded.moving_square(2, height=height, width=width)
    for frame, (y, x) in zip(frames, [(40, 40), (40 - dy, 40 - dx)], strict=True):
        plane = frame.planes[0]
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, :width] = scene[y : y + height, x : x + width]
        plane.update(padded.tobytes())
    return frames


@pytest.mark.parametrize("shift", [(0, 0), (5, -3), (-12, 7), (0, 20)])
def test_finds_a_known_shift(shift):
    previous, current = shifted(*shift)
    (field,) = rasterise([estimate(previous, current)], 144, 176)
    # Blocks near the edge that the scene enters from have no past to be found.
    inner = field[4:-4, 4:-4].reshape(-1, 2)
    assert np.mean((inner == shift).all(axis=-1)) > 0.95


@pytest.mark.parametrize(("height", "width"), [(144, 176), (150, 187), (66, 71)])
def test_covers_the_whole_frame_with_past_vectors(height, width):
    vectors = estimate(*shifted(4, 4, height, width))
    assert (vectors["source"] == -1).all()
    assert (vectors["motion_scale"] == 0).all()
    (field,) = rasterise([vectors], height, width)
    assert field.shape == (-(-height // 8), -(-width // 8), 2)
    # In the corner away from the incoming edges every cell has found the shift.
    np.testing.assert_array_equal(field[-3:, -3:], np.full((3, 3, 2), 4))
