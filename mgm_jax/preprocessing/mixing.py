"""Mixup and CutMix with soft targets: timm's `Mixup`, mode "batch", as in VideoMAE."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Key


def mix(
    key: Key[Array, ""],
    clips: Float[Array, "b T H W c"],
    labels: Int[Array, " b"],
    valid: Bool[Array, " b"],
    *,
    num_classes: int,
    mixup_alpha: float = 0.8,
    cutmix_alpha: float = 1.0,
    probability: float = 1.0,
    switch_probability: float = 0.5,
    label_smoothing: float = 0.1,
    group_size: int | None = None,
) -> tuple[Float[Array, "b T H W c"], Float32[Array, "b {num_classes}"], Float32[Array, " b"]]:
    """Mixes each clip with its partner, the clip at the same position of the reversed group.

    One draw per group chooses mixup (the weighted sum of both clips) or CutMix (a box of the
    partner in all frames), and how much of the clip remains. The box is that of VideoMAE's
    `rand_bbox`; where the border cuts it, the targets follow the actual area.

    A mixed clip counts only if both clips do.

    Args:
        key: Random key.
        clips: Normalised clips, after all other augmentation.
        labels: Classes; those of invalid clips are ignored.
        valid: False for clips that could not be read or have no class.
        num_classes: Number of classes.
        mixup_alpha: Both parameters of mixup's beta distribution; 0 for no mixup.
        cutmix_alpha: The same for CutMix. If both are 0, labels are only smoothed.
        probability: Probability of mixing at all.
        switch_probability: Probability of CutMix if neither is off.
        label_smoothing: Fraction of a target that is spread over all classes.
        group_size: Successive clips that are mixed among themselves, which divides the batch; None
            for the whole batch. (VideoMAE mixes the clips of one GPU.)

    Returns:
        (clips, targets, weights): rows of targets sum to 1; weights are 1 for clips that count.
    """
    size = group_size or len(clips)
    cutmix_share = switch_probability
    if not mixup_alpha and not cutmix_alpha:
        probability = 0.0
    elif not mixup_alpha or not cutmix_alpha:
        cutmix_share = float(cutmix_alpha > 0)

    def mix_group(
        key: Array, clips: Array, labels: Array, valid: Array
    ) -> tuple[Array, Array, Array]:
        # A kind that is off is never drawn, but its parameter must be positive.
        alphas = mixup_alpha or 1.0, cutmix_alpha or 1.0
        own = draw_own_share(key, clips.shape[2:4], *alphas, probability, cutmix_share)
        share = own.mean()
        own = own[:, :, None].astype(clips.dtype)
        mixed = clips * own + jnp.flip(clips, 0) * (1 - own)
        one_hot = jax.nn.one_hot(labels, num_classes)
        targets = one_hot * (1 - label_smoothing) + label_smoothing / num_classes
        targets = targets * share + jnp.flip(targets, 0) * (1 - share)
        counts = valid & (jnp.flip(valid) | (share == 1))
        return mixed, targets, counts.astype(jnp.float32)

    keys = jax.random.split(key, len(clips) // size)
    grouped = [x.reshape(-1, size, *x.shape[1:]) for x in (clips, labels, valid)]
    mixed, targets, weights = jax.vmap(mix_group)(keys, *grouped)
    return mixed.reshape(clips.shape), targets.reshape(-1, num_classes), weights.reshape(-1)


def draw_own_share(
    key: Key[Array, ""],
    frame: tuple[int, int],
    mixup_alpha: float | Float[Array, ""],
    cutmix_alpha: float | Float[Array, ""],
    probability: float | Float[Array, ""],
    cutmix_share: float | Float[Array, ""],
) -> Float32[Array, "H W"]:
    """Draws the weight of the clip per pixel of `frame`: constant (mixup), or 0 in a box (CutMix).

    The clip's weight in the target is the mean. Both alphas must be positive; see `mix`.
    """
    share_key, uniform_key = jax.random.split(key)
    for_chance, for_kind, for_y, for_x = jax.random.uniform(uniform_key, (4,))
    is_mixed, is_cutmix = for_chance < probability, for_kind < cutmix_share
    alpha = jnp.where(is_cutmix, cutmix_alpha, mixup_alpha)
    share = jax.random.beta(share_key, alpha, alpha)

    inside = jnp.array(True)
    for side, uniform, shape in ((frame[0], for_y, (-1, 1)), (frame[1], for_x, (1, -1))):
        half = jnp.floor(side * jnp.sqrt(1 - share)).astype(jnp.int32) // 2
        centre = jnp.floor(side * uniform).astype(jnp.int32)
        pixels = jnp.arange(side).reshape(shape)
        inside = inside & (pixels >= centre - half) & (pixels < centre + half)
    own = jnp.where(is_cutmix, jnp.where(inside, 0.0, 1.0), share)
    return jnp.where(is_mixed, own, 1.0)
