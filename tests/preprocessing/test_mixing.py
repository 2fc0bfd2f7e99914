"""Mixup and CutMix against timm, what is drawn, and who counts."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.preprocessing import mixing
from tests.preprocessing import make_reference

REFERENCE = json.loads(make_reference.FILE.read_text())
CLASSES, SHARE = make_reference.CLASSES, make_reference.SHARE
HEIGHT, WIDTH = make_reference.FRAME
LABELS = jnp.array(make_reference.LABELS)
ALL = jnp.ones(4, bool)
# Clip i has the value i everywhere.
CLIPS = jnp.broadcast_to(jnp.arange(4.0)[:, None, None, None, None], (4, 2, HEIGHT, WIDTH, 3))


def mix(key, *, labels=LABELS, valid=ALL, **settings):
    return jax.jit(
        lambda key: mixing.mix(key, CLIPS, labels, valid, num_classes=CLASSES, **settings)
    )(key)


def own_share(kind):
    top, bottom, left, right = make_reference.BOX
    if kind == "mixup":
        return jnp.full((HEIGHT, WIDTH), SHARE)
    return jnp.ones((HEIGHT, WIDTH)).at[top:bottom, left:right].set(0.0)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_clips_and_targets_are_timms(monkeypatch, kind):
    monkeypatch.setattr(mixing, "draw_own_share", lambda *_: own_share(kind))
    clips, targets, weights = mix(jax.random.key(0), label_smoothing=0.1)
    expected = np.array(REFERENCE[kind]["frames"])[:, None, :, :, None]
    np.testing.assert_allclose(clips, np.broadcast_to(expected, clips.shape), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(targets, REFERENCE[kind]["targets"], rtol=1e-5)
    np.testing.assert_array_equal(weights, np.ones(4))


@pytest.mark.parametrize("group_size", [None, 2])
def test_a_mixed_clip_counts_only_with_its_partner(monkeypatch, group_size):
    monkeypatch.setattr(mixing, "draw_own_share", lambda *_: own_share("mixup"))
    valid = jnp.array([True, False, True, True])
    labels = jnp.where(valid, LABELS, -1)
    _, targets, weights = mix(jax.random.key(0), labels=labels, valid=valid, group_size=group_size)
    expected = [1, 0, 0, 1] if group_size is None else [0, 0, 1, 1]
    np.testing.assert_array_equal(weights, expected)
    assert np.isfinite(targets).all()


def test_where_nothing_is_mixed_each_clip_stands_for_itself():
    valid = jnp.array([True, False, True, True])
    clips, targets, weights = mix(jax.random.key(0), valid=valid, mixup_alpha=0.0, cutmix_alpha=0.0)
    np.testing.assert_array_equal(clips, CLIPS)
    np.testing.assert_array_equal(weights, valid)
    np.testing.assert_allclose(targets[0], [0.02, 0.02, 0.02, 0.92, 0.02], rtol=1e-6)


def test_groups_are_mixed_among_themselves_by_their_own_draws():
    clips, targets, _ = mix(jax.random.key(0), mixup_alpha=0.0)
    assert np.isin(clips, range(4)).all()  # By CutMix alone.
    clips, targets, _ = mix(jax.random.key(0), cutmix_alpha=0.0, group_size=2)
    np.testing.assert_array_equal(clips, np.broadcast_to(clips[:, :1, :1, :1], CLIPS.shape))
    own = 1 - np.asarray(clips)[0, 0, 0, 0, 0]  # of clips 0 and 1
    other = 3 - np.asarray(clips)[2, 0, 0, 0, 0]  # of clips 2 and 3
    assert own != pytest.approx(other)
    np.testing.assert_allclose(clips[1], own, rtol=1e-5)
    np.testing.assert_allclose(targets[0, LABELS[0]], 0.9 * own + 0.02, rtol=1e-5)
    np.testing.assert_allclose(targets[0, LABELS[1]], 0.9 * (1 - own) + 0.02, rtol=1e-5)
    np.testing.assert_allclose(targets[2, LABELS[2]], 0.9 * other + 0.02, rtol=1e-5)


@jax.jit
def draw_many(probability, cutmix_share):
    keys = jax.random.split(jax.random.key(7), 3000)
    return jax.vmap(
        lambda key: mixing.draw_own_share(key, (20, 28), 0.8, 1.0, probability, cutmix_share)
    )(keys)


def test_mixup_is_uniform_over_the_frame_with_a_beta_share():
    own = np.asarray(draw_many(1.0, 0.0))
    assert (own.min((1, 2)) == own.max((1, 2))).all()
    share = own[:, 0, 0]
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    assert share.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.006)  # of Beta(0.8, 0.8)


def reference_share(height, width, number):
    """Shares after CutMix by VideoMAE's `rand_bbox` and the correction by the true area."""
    r = np.random.default_rng(0)
    shares = []
    for ratio in np.sqrt(1 - r.beta(1, 1, number)):
        area = 1
        for side in (height, width):
            half, centre = int(side * ratio) // 2, r.integers(side)
            area *= np.clip(centre + half, 0, side) - np.clip(centre - half, 0, side)
        shares.append(1 - area / (height * width))
    return np.array(shares)


def test_cutmix_cuts_one_box_as_large_as_videomaes():
    cut = np.asarray(draw_many(1.0, 1.0)) == 0.0
    for box in cut:
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box.sum() == len(rows) * len(columns)
        for positions, side in ((rows, 20), (columns, 28)):
            if len(positions):
                assert np.ptp(positions) + 1 == len(positions)
                inside = positions[0] > 0 and positions[-1] < side - 1
                assert not (inside and len(positions) % 2)
    shares = 1 - cut.mean((1, 2))
    expected = reference_share(20, 28, 3000)
    for percent in (5, 25, 50, 75, 95):
        got, wanted = np.percentile(shares, percent), np.percentile(expected, percent)
        assert got == pytest.approx(wanted, abs=0.035)


def test_how_often_which():
    own = np.asarray(draw_many(0.8, 0.25))
    untouched = (own == 1).all((1, 2))
    uniform = (own.min((1, 2)) == own.max((1, 2))) & ~untouched
    # A box can have no pixel.
    assert untouched.mean() == pytest.approx(0.2, abs=0.03)
    assert uniform.mean() == pytest.approx(0.8 * 0.75, abs=0.03)
    assert (draw_many(0.0, 0.5) == 1).all()


def test_mixup_has_its_own_parameter():
    """Of a Beta distribution: a large one halves, a small one leaves either clip."""
    settings = {"mixup_alpha": 1e4, "cutmix_alpha": 1e-3, "switch_probability": 0.0}
    clips, *_ = mix(jax.random.key(0), **settings)
    np.testing.assert_allclose(clips[0], 1.5, atol=0.1)
