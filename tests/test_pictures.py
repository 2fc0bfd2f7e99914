import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import config
from PIL import Image

from mgm_jax import mask_overlays, motion_colours, picture_layout, pictures, reconstruction

T, H, W = 8, 32, 48
TUBELET = (2, 8, 8)
GRID = (4, 4, 6)


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    mask = np.zeros(GRID, bool)
    mask[:, 1:3, 1:5] = True
    valid = np.ones(T, bool)
    valid[0] = False
    return {
        "frames": rng.random((T, H, W, 3), np.float32),
        "motion": rng.normal(0, 3, (T, 4, 6, 2)).astype(np.float32),
        "motion_valid": valid,
        "mask": mask,
        "reconstruction": rng.random((T, H, W, 3), np.float32),
        "clip_id": "a clip",
        "strategy": "mgm",
    }


def masks_of(clip):
    """The same clip as arguments of the mask pictures, with two strategies."""
    kept = {k: clip[k] for k in ("frames", "motion", "motion_valid", "clip_id")}
    return {**kept, "masks": {"mgm": clip["mask"], "random_tube": ~clip["mask"]}}


@contextlib.contextmanager
def shape_checks_off():
    """As in use, where no import hook stands before the functions' own checks."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


# Motion as colours


def test_the_colour_wheel_has_the_published_directions():
    east, south, west, north = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    colours = motion_colours.motion_to_colours(np.array([east, south, west, north], np.float32), 1)
    # colorwheel.m of Baker et al., at angles 0, 90, 180 and 270 degrees clockwise.
    expected = [(255, 0, 0), (255, 234, 0), (0, 197, 255), (103, 0, 255)]
    np.testing.assert_allclose(colours, expected, atol=12)


def test_the_colour_wheel_is_continuous_and_its_directions_are_distinct():
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    vectors = np.stack([np.cos(angles), np.sin(angles)], -1) * 0.999
    colours = motion_colours.motion_to_colours(vectors, 1).astype(int)
    steps = np.abs(colours - np.roll(colours, 1, axis=0)).max(axis=1)
    assert steps.max() <= 8
    sectors = colours[::30]
    distance = np.abs(sectors[:, None] - sectors[None]).sum(-1)
    assert distance[~np.eye(len(sectors), dtype=bool)].min() > 25


@given(st.floats(0, 2 * np.pi), st.floats(0.05, 0.9))
@settings(max_examples=50, deadline=None)
def test_longer_motion_is_further_from_white(angle, length):
    direction = np.array([np.cos(angle), np.sin(angle)])
    vectors = np.stack([0 * direction, length * direction, (length + 0.1) * direction])
    still, short, long = motion_colours.motion_to_colours(vectors, 1).astype(int).sum(-1)
    assert still == 3 * 255
    assert still > short > long


def test_the_scale_is_round_and_ignores_stray_vectors_and_invalid_frames():
    motion = np.zeros((2, 20, 20, 2), np.float32)
    motion[0, :, :10, 0] = 3.7
    motion[0, 0, 0, 1] = 90
    motion[1] = 1000
    valid = np.array([True, False])
    assert motion_colours.motion_scale(motion, valid) == 4
    assert motion_colours.motion_scale(motion * 10, valid) == 40
    assert motion_colours.motion_scale(motion * 0, valid) == 1


def test_invalid_motion_maps_are_hatched_and_valid_ones_keep_their_cells():
    motion = np.zeros((2, 2, 3, 2), np.float32)
    motion[:, 1, 2] = (1, 0)
    drawn = motion_colours.motion_pictures(motion, np.array([True, False]), (20, 30), 1.0)
    assert (drawn[0, 10:, 20:] == (255, 0, 0)).all()
    assert (drawn[0, :10] == 255).all()
    assert len(np.unique(drawn[1])) == 2
    assert (drawn[1] == drawn[1, ..., :1]).all()


def test_the_legend_shows_what_the_maps_show():
    wheel = motion_colours.colour_wheel(64).astype(int)
    assert (wheel[0, 0] == 255).all()
    assert np.abs(wheel[32, 62] - (255, 0, 0)).max() < 30
    vector = np.array([(10.5 / 32, 20.5 / 32)])
    expected = motion_colours.motion_to_colours(vector, 1.0)[0].astype(int)
    assert np.abs(wheel[52, 42] - expected).max() <= 4


# Masks over frames


@given(st.integers(0, 2**32 - 1), st.booleans(), st.floats(0.2, 1))
@settings(max_examples=25, deadline=None)
def test_overlays_touch_masked_cells_only(seed, cell_grid, opacity):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (T, H, W, 3), np.uint8)
    mask = rng.random(GRID) < 0.6
    hidden = np.kron(mask, np.ones(TUBELET)).astype(bool)
    overlay = mask_overlays.mask_overlay(frames, mask, opacity=opacity, cell_grid=cell_grid)
    visible = mask_overlays.visible_input(frames, mask, opacity=opacity)
    for drawn in (overlay, visible):
        np.testing.assert_array_equal(drawn[~hidden], frames[~hidden])
        assert (drawn[hidden] != frames[hidden]).any(-1).mean() > 0.9 or not hidden.any()


def test_opaque_grey_hides_the_content_and_a_tint_lets_it_through(clip):
    frames = np.round(clip["frames"] * 255).astype(np.uint8)
    hidden = mask_overlays.mask_per_pixel(clip["mask"], (T, H, W))
    opaque = mask_overlays.visible_input(frames, clip["mask"])[hidden]
    assert (opaque == opaque[0]).all()
    tinted = mask_overlays.mask_overlay(frames, clip["mask"], outline=0)[hidden]
    brightness = frames[hidden].astype(float) @ (0.299, 0.587, 0.114)
    assert np.corrcoef(tinted[:, 0], brightness)[0, 1] > 0.99


def test_the_outline_runs_inside_the_masked_region(clip):
    frames = np.zeros((T, H, W, 3), np.uint8)
    plain = mask_overlays.mask_overlay(frames, clip["mask"], outline=0)
    outlined = mask_overlays.mask_overlay(frames, clip["mask"], outline=1)
    changed = (plain != outlined).any(-1)
    assert changed[0].sum() == 2 * (16 + 32) - 4
    assert changed[0, 8, 8:40].all()


def test_visible_pixels_are_pasted_from_the_input(clip):
    frames = np.full((T, H, W, 3), 10, np.uint8)
    pasted = mask_overlays.paste_visible(frames + 50, frames, clip["mask"])
    hidden = mask_overlays.mask_per_pixel(clip["mask"], (T, H, W))
    assert (pasted[hidden] == 60).all()
    assert (pasted[~hidden] == 10).all()


def test_boxes_are_drawn_where_they_are_and_nan_is_not():
    frames = np.zeros((2, 20, 30, 3), np.uint8)
    boxes = np.array([[5, 4, 25, 15], [np.nan] * 4], np.float32)
    drawn = mask_overlays.draw_boxes(frames, boxes, colour=(255, 0, 0), width=1)
    rows, columns = np.nonzero(drawn[0].any(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 15, 5, 25)
    assert not drawn[1].any()


# From normalised predictions to pixels


def targets_of(frames, tubelet=TUBELET):
    """Normalised tubelets, written out loop by loop."""
    (p0, p1, p2), tokens = tubelet, []
    for t in range(0, frames.shape[0], p0):
        for y in range(0, frames.shape[1], p1):
            for x in range(0, frames.shape[2], p2):
                cube = frames[t : t + p0, y : y + p1, x : x + p2].reshape(-1, 3).astype(np.float64)
                cube = (cube - cube.mean(0)) / (cube.std(0, ddof=1) + 1e-6)
                tokens.append(cube.reshape(-1))
    return np.stack(tokens)


def test_true_targets_with_the_targets_statistics_give_the_clip_back(clip):
    masked_ids = np.random.default_rng(1).permutation(np.flatnonzero(clip["mask"]))
    predictions = targets_of(clip["frames"])[masked_ids]
    made = reconstruction.denormalise(
        predictions, masked_ids, clip["frames"], tubelet=TUBELET, statistics="target"
    )
    np.testing.assert_allclose(made, clip["frames"], atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None)
def test_masked_pixels_do_not_reach_the_default_reconstruction(seed, ratio):
    rng = np.random.default_rng(seed)
    masked_ids = rng.permutation(96)[: round(96 * ratio)]
    mask = np.zeros(96, bool)
    mask[masked_ids] = True
    hidden = mask_overlays.mask_per_pixel(mask.reshape(GRID), (T, H, W))
    predictions = rng.normal(size=(len(masked_ids), 384)).astype(np.float32)
    frames = rng.random((T, H, W, 3), np.float32)
    made = reconstruction.denormalise(predictions, masked_ids, frames, tubelet=TUBELET)
    for other in (np.nan, 0.0, 1e6):
        disturbed = np.where(hidden[..., None], np.float32(other), frames)
        again = reconstruction.denormalise(predictions, masked_ids, disturbed, tubelet=TUBELET)
        np.testing.assert_array_equal(again, made)
    np.testing.assert_array_equal(made[~hidden], frames[~hidden])
    leaky = reconstruction.denormalise(
        predictions, masked_ids, frames, tubelet=TUBELET, statistics="target"
    )
    assert np.abs(leaky - made).max() > 1e-3


def test_the_default_statistics_lie_between_and_follow_the_nearest_visible_tubelets():
    ramp = np.linspace(0.1, 0.9, 14, dtype=np.float32).repeat(8)
    frames = np.broadcast_to(ramp[None, None, :, None], (2, 8, 112, 3)).copy()
    masked_ids = np.arange(1, 13)
    predictions = np.zeros((12, 384), np.float32)
    made = reconstruction.denormalise(predictions, masked_ids, frames, tubelet=TUBELET)
    cells = made[0, 0, ::8, 0]
    assert (np.diff(cells) >= 0).all()
    assert cells[0] == pytest.approx(0.1)
    assert cells[1] == pytest.approx(0.1, abs=0.01)
    assert cells[12] == pytest.approx(0.9, abs=0.01)
    assert cells[6] + cells[7] == pytest.approx(1.0, abs=1e-5)


def test_a_moment_earlier_counts_more_than_a_place_nearby():
    frames = np.full((4, 8, 24, 3), 0.2, np.float32)
    frames[:2, :, 8:16] = 0.8
    # Hidden: the middle of the second step. Both neighbours there are dark, its past is bright.
    made = reconstruction.denormalise(
        np.zeros((1, 384), np.float32), np.array([4]), frames, tubelet=TUBELET
    )
    assert made[2, 4, 12, 0] > 0.6


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"predictions": np.zeros((3, 383), np.float32)}, "predictions have shape"),
        ({"masked_ids": np.array([1, 1, 2])}, "masked_ids repeat"),
        ({"masked_ids": np.array([1, 2, 96])}, r"masked_ids leave 0\.\.95"),
        ({"frames": np.zeros((T, H, W + 1, 3), np.float32)}, "frames have shape"),
        ({"statistics": "mean"}, "statistics is 'mean'"),
    ],
)
def test_denormalise_names_what_does_not_fit(change, named):
    arguments = {
        "predictions": np.zeros((3, 384), np.float32),
        "masked_ids": np.array([1, 2, 3]),
        "frames": np.zeros((T, H, W, 3), np.float32),
        **change,
    }
    with shape_checks_off(), pytest.raises(ValueError, match=named):
        reconstruction.denormalise(**arguments, tubelet=TUBELET)


def test_denormalise_needs_a_visible_tubelet(clip):
    with pytest.raises(ValueError, match="none is visible"):
        reconstruction.denormalise(
            np.zeros((96, 384), np.float32), np.arange(96), clip["frames"], tubelet=TUBELET
        )


# Sheets and animations


def tiles_in(sheet, size):
    """Corners of the tiles: where a hairline frame of the right size stands."""
    hairline = np.array((205, 205, 210))
    on = (sheet == hairline).all(-1)
    height, width = size
    runs = np.cumsum(np.pad(on, ((0, 0), (1, 0))), axis=1)
    full = runs[:, width + 2 :] - runs[:, : -(width + 2)] == width + 2
    tops = full[: -(height + 1)] & full[height + 1 :]
    return [(y + 1, x + 1) for y, x in np.argwhere(tops)]


def test_a_reconstruction_sheet_has_a_row_per_view_and_a_column_per_step(clip):
    size = picture_layout.tile_size((H, W), GRID[1:], GRID[0])
    sheet = pictures.reconstruction_sheet(**clip)
    places = tiles_in(sheet, size)
    assert len({y for y, _ in places}) == 5
    assert len({x for _, x in places}) == GRID[0]
    assert len(places) == 5 * GRID[0]
    leaky = pictures.reconstruction_sheet(
        **clip, leaky_reconstruction=clip["reconstruction"], step=1000
    )
    assert len(tiles_in(leaky, size)) == 6 * GRID[0]
    assert leaky.shape[1] == sheet.shape[1]


def test_tiles_show_the_frames_and_the_pasted_reconstruction(clip):
    size = picture_layout.tile_size((H, W), GRID[1:], GRID[0])
    factor = size[0] // H
    sheet = pictures.reconstruction_sheet(**clip)
    places = tiles_in(sheet, size)
    rows, columns = sorted({y for y, _ in places}), sorted({x for _, x in places})

    def tile(row, column):
        y, x = rows[row], columns[column]
        return sheet[y : y + size[0] : factor, x : x + size[1] : factor].astype(int)

    hidden = mask_overlays.mask_per_pixel(clip["mask"], (T, H, W))[4]
    frame, made = (np.round(clip[k][4] * 255) for k in ("frames", "reconstruction"))
    np.testing.assert_array_equal(tile(0, 2), frame)
    np.testing.assert_array_equal(tile(4, 2), np.where(hidden[..., None], made, frame))


def test_uint8_frames_give_the_same_sheet(clip):
    as_float = pictures.reconstruction_sheet(**clip)
    clip["frames"] = np.round(clip["frames"] * 255).astype(np.uint8)
    np.testing.assert_array_equal(pictures.reconstruction_sheet(**clip), as_float)


def test_sheet_columns_show_the_longer_vector_of_the_tubelet(clip):
    clip["motion"] = np.zeros_like(clip["motion"])
    clip["motion"][2, 0, 0] = (1, 0)
    clip["motion"][3, 0, 0] = (0, 10)
    clip["motion"][0] = 500
    size = picture_layout.tile_size((H, W), GRID[1:], GRID[0])
    sheet = pictures.mask_sheet(**masks_of(clip))
    y, x = sorted(tiles_in(sheet, size))[GRID[0] + 1]
    assert tuple(sheet[y + 2, x + 2]) == (255, 234, 0)
    _, first = sorted(tiles_in(sheet, size))[GRID[0]]
    assert (sheet[y : y + size[0], first : first + size[1]] == 255).all()


def test_a_mask_sheet_has_a_row_per_strategy(clip):
    size = picture_layout.tile_size((H, W), GRID[1:], GRID[0])
    boxes = np.tile(np.array([8, 8, 30, 24], np.float32), (T, 1))
    sheet = pictures.mask_sheet(**masks_of(clip))
    boxed = pictures.mask_sheet(**masks_of(clip), boxes=boxes)
    assert len(tiles_in(sheet, size)) == 4 * GRID[0]
    assert boxed.shape == sheet.shape
    yellow = (boxed == (255, 214, 10)).all(-1)
    factor = size[0] // H
    y, x = sorted(tiles_in(sheet, size))[0]
    assert yellow[y + 8 * factor, x + 8 * factor : x + 30 * factor].all()
    assert yellow[y + 24 * factor, x + 8 * factor : x + 30 * factor].all()
    assert yellow[y + 8 * factor : y + 24 * factor, x + 30 * factor].all()


def test_a_full_size_sheet_fits_the_page(clip):
    rng = np.random.default_rng(0)
    frames = rng.random((16, 224, 224, 3), np.float32)
    mask = np.zeros((8, 14, 14), bool)
    mask[:, 1:13, 1:13] = True
    sheet = pictures.mask_sheet(
        frames,
        np.zeros((16, 28, 28, 2), np.float32),
        np.ones(16, bool),
        {"mgm": mask},
        clip_id="long name " * 40,
    )
    assert 1200 <= sheet.shape[1] <= 1800
    assert (sheet[:, -20:] == 255).all()
    assert (sheet[:, :20] == 255).all()


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([4, 8, 16]), st.integers(1, 16))
@settings(max_examples=60, deadline=None)
def test_tiles_have_whole_pixels_per_token(h, w, patch, columns):
    height, width = h * patch * 4, w * patch * 4
    tile_height, tile_width = picture_layout.tile_size((height, width), (h * 4, w * 4), columns)
    assert tile_height % (h * 4) == 0
    assert tile_width % (w * 4) == 0
    assert tile_width * columns <= 1440
    if tile_width >= width:
        assert tile_width % width == 0


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_have_every_frame(clip, tmp_path, suffix):
    images = pictures.reconstruction_animation(**clip)
    assert len(images) == T
    path = tmp_path / "new" / f"clip{suffix}"
    pictures.save_animation(path, images, fps=30)
    with Image.open(path) as saved:
        assert saved.n_frames == T
        assert saved.size == images.shape[2:0:-1]
        total = 0
        for index in range(T):
            saved.seek(index)
            saved.load()
            total += saved.info["duration"]
            shown = np.asarray(saved.convert("RGB")).astype(int)
            errors = [np.abs(shown - image).mean() for image in images]
            assert np.argmin(errors) == index
            assert errors[index] < 8
    assert total == pytest.approx(T * 1000 / 30, abs=6)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_mask_animation_shows_the_mask_of_each_frames_tubelet(clip):
    clip["mask"][3] = False
    images = pictures.mask_animation(**masks_of(clip))
    assert len(images) == T
    assert (images[0] != images[1]).any()
    clip["frames"][:] = 0.5
    clip["motion"][:] = 0
    clip["motion_valid"][:] = True
    images = pictures.mask_animation(**masks_of(clip))[:, 90:]
    np.testing.assert_array_equal(images[0], images[5])
    np.testing.assert_array_equal(images[6], images[7])
    assert (images[5] != images[6]).any()


def test_a_png_holds_the_picture_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "a" / "b" / "sheet.png"
    for value in (10, 200):
        image = np.full((5, 7, 3), value, np.uint8)
        pictures.save_png(path, image)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "sheet.png"
    pictures.save_png(path, np.zeros((2, 2, 3), np.uint8))
    before = path.read_bytes()

    def fill_the_disk(image, target, **options):
        target.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        pictures.save_png(path, np.ones((2, 2, 3), np.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_name_their_cure(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"ends in '\.mp4'; choose \.gif"):
        pictures.save_animation(tmp_path / "a.mp4", images, 10)
    with pytest.raises(ValueError, match="fps is 0"):
        pictures.save_animation(tmp_path / "a.gif", images, 0)
    with pytest.raises(ValueError, match="images are empty"):
        pictures.save_animation(tmp_path / "a.gif", images[:0], 10)
    with pytest.raises(ValueError, match=r"does not end in \.png"):
        pictures.save_png(tmp_path / "a.jpg", images[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("frames", np.zeros((T, H, W), np.float32), r"frames have shape \(8, 32, 48\)"),
        ("frames", np.full((T, H, W, 3), 200, np.float32), r"frames: values .*uint8"),
        ("frames", np.full((T, H, W, 3), np.nan, np.float32), "frames: values"),
        ("motion", np.zeros((T - 1, 4, 6, 2), np.float32), "motion has shape"),
        ("motion", np.full((T, 4, 6, 2), np.nan, np.float32), "motion holds NaN"),
        ("motion_valid", np.ones(T - 1, bool), "motion_valid is"),
        ("mask", np.ones(GRID, np.float32), "'mask' is float32"),
        ("mask", np.ones((4, 5, 6), bool), r"mask has a grid of \(4, 5, 6\)"),
        ("mask", np.ones((3, 4, 6), bool), r"mask has a grid of \(3, 4, 6\)"),
        ("reconstruction", np.zeros((T, H, W // 2, 3), np.float32), "reconstruction has shape"),
        ("reconstruction", np.full((T, H, W, 3), 9, np.float32), "reconstruction: values"),
        ("leaky_reconstruction", np.zeros((1, H, W, 3), np.float32), "leaky reconstruction has"),
        ("boxes", np.zeros((T + 1, 4), np.float32), "boxes have shape"),
    ],
)
def test_arrays_that_do_not_belong_together_are_named(clip, key, value, named):
    clip[key] = value
    for draw in (pictures.reconstruction_sheet, pictures.reconstruction_animation):
        with shape_checks_off(), pytest.raises(ValueError, match=named):
            draw(**clip)


def test_masks_on_different_grids_are_named(clip):
    arguments = masks_of(clip)
    arguments["masks"]["random"] = np.ones((4, 2, 3), bool)
    with shape_checks_off(), pytest.raises(ValueError, match="'random' is bool"):
        pictures.mask_sheet(**arguments)
    with pytest.raises(ValueError, match="masks are empty"):
        pictures.mask_sheet(**{**arguments, "masks": {}})
