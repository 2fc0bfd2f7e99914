"""What a model is shown of a clip: its colours, what changes in them, or its motion.

The paper shows RGB. The others are for few videos (*decision*): what a class's training clips have
in common to look at, the place and the clothes, says where they were filmed and not what is done in
them, and a small model learns that first.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mgm_jax.masking import motion_maps
from mgm_jax.preprocessing import rgb

# Brings what changes in a clip nearer to the variance of whole clips.
_CHANGE_GAIN = 2.0
# Displacement, in sides of the clip, that is shown as one standard deviation; two are the most.
_DISPLACEMENT = 1 / 24


def as_modality(
    clips: Float[Array, "b T H W 3"],
    vectors: Float[Array, "b T mh mw 2"],
    valid: Bool[Array, "b T"],
    modality: str,
) -> Float[Array, "b T H W 3"]:
    """Turns RGB clips into what a model is to see.

    `rgb` are the clips themselves. `changes` takes off each pixel's mean over the clip's frames and
    doubles the rest, so that what never changes is zero once normalised. `motion` has three
    channels of its own: the changes of the clip's grey, and displacement to the right and down,
    relative to the frame's median (so that a pan is not motion), constant in each motion cell and
    zero where no motion is known.

    Args:
        clips: RGB in [0, 1].
        vectors: Displacements (dx, dy) per motion cell, output pixels; used by `motion` alone.
        valid: Whether a frame's motion is known.
        modality: `rgb`, `changes` or `motion`.

    Returns:
        Three channels in [0, 1], to be normalised like RGB.
    """
    if modality == "rgb":
        return clips
    shown = clips if modality == "changes" else clips.mean(axis=-1, keepdims=True)
    changes = _CHANGE_GAIN * (shown - shown.mean(axis=1, keepdims=True))
    if modality == "motion":
        changes = jnp.concatenate([changes, _displacement(vectors, valid, clips.shape)], axis=-1)
    return jnp.clip(jnp.array(rgb.MEAN) + changes, 0.0, 1.0)


def _displacement(
    vectors: Float[Array, "b T mh mw 2"], valid: Bool[Array, "b T"], shape: tuple[int, ...]
) -> Float[Array, "b T H W 2"]:
    vectors = motion_maps.compensate_camera(vectors, valid, "median")
    vectors = jnp.where(valid[:, :, None, None, None], vectors, 0.0)
    for axis in (2, 3):
        vectors = jnp.repeat(vectors, shape[axis] // vectors.shape[axis], axis=axis)
    deviations = vectors / (_DISPLACEMENT * shape[3])
    return jnp.clip(deviations, -2.0, 2.0) * jnp.array(rgb.STANDARD_DEVIATION[1:])
