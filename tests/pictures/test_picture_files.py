import numpy as np
import pytest
from picture_arrays import T, make_clip
from PIL import Image

from mgm_jax.pictures import motion_colours, picture_files, sheets


@pytest.fixture
def clip():
    return make_clip()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_have_every_frame(clip, tmp_path, suffix):
    images = sheets.reconstruction_animation(**clip)
    assert len(images) == T
    path = tmp_path / "new" / f"clip{suffix}"
    picture_files.save_animation(path, images, fps=30)
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


def test_a_png_holds_the_picture_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "a" / "b" / "sheet.png"
    for value in (10, 200):
        image = np.full((5, 7, 3), value, np.uint8)
        picture_files.save_png(path, image)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "sheet.png"
    picture_files.save_png(path, np.zeros((2, 2, 3), np.uint8))
    before = path.read_bytes()

    def fill_the_disk(image, target, **options):
        target.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        picture_files.save_png(path, np.ones((2, 2, 3), np.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_name_their_cure(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"ends in '\.mp4'; choose \.gif"):
        picture_files.save_animation(tmp_path / "a.mp4", images, 10)
    with pytest.raises(ValueError, match="fps is 0"):
        picture_files.save_animation(tmp_path / "a.gif", images, 0)
    with pytest.raises(ValueError, match="images are empty"):
        picture_files.save_animation(tmp_path / "a.gif", images[:0], 10)
    with pytest.raises(ValueError, match=r"does not end in \.png"):
        picture_files.save_png(tmp_path / "a.jpg", images[0])
    assert not list(tmp_path.iterdir())


def test_pale_motion_keeps_its_hue_in_a_gif_of_few_other_colours(tmp_path):
    scene = np.random.default_rng(0).integers(0, 256, (60, 200, 1), np.uint8).repeat(3, axis=-1)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    pale = 0.15 * np.stack([np.cos(angles), np.sin(angles)], -1)[:, None].repeat(200, axis=1)
    image = np.concatenate([scene, motion_colours.motion_to_colours(pale, 1.0)])
    picture_files.save_animation(tmp_path / "a.gif", np.stack([image] * 2), fps=8)
    shown = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB")).astype(int)[60:]
    assert ((shown.max(-1) - shown.min(-1)) > 8).mean() > 0.95
    np.testing.assert_allclose(shown, image[60:], atol=24)


def test_the_background_of_a_gif_is_white(clip, tmp_path):
    images = sheets.reconstruction_animation(**clip)
    picture_files.save_animation(tmp_path / "a.gif", images, fps=8)
    assert (np.asarray(Image.open(tmp_path / "a.gif").convert("RGB"))[:10] == 255).all()
