import encoded
import numpy as np
import rendered
from hypothesis import given
from hypothesis import strategies as st

from mgm_jax.data.decoding import Video
from mgm_jax.data.sources import FolderSource
from mgm_jax.pictures.example_strips import choose_examples, example_strips


def test_colours_are_those_of_ffmpeg(tmp_path):
    file = tmp_path / "video.mp4"
    file.write_bytes(encoded.encode(encoded.moving_square(3)))
    with Video(file) as video:
        ours = video.read([0, 2], motion="none").to_rgb()
    frames = encoded.decode_all(file)
    theirs = np.stack([frames[number].to_ndarray(format="rgb24") for number in (0, 2)])
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean() < 2


def test_strips_show_the_first_to_the_last_frame(tmp_path):
    folder = rendered.write_folder(tmp_path, num_videos=2, frames=9, height=64, width=80)
    source = FolderSource(str(folder))
    (strip,) = example_strips(source, [1], num_frames=3, height=64)
    assert strip.shape == (64, 3 * 82 - 2, 3)
    frames = [
        frame.to_ndarray(format="rgb24").astype(int)
        for frame in encoded.decode_all(folder / source[1].video_id)
    ]
    for place, number in enumerate((0, 4, 8)):
        shown = strip[:, place * 82 : place * 82 + 80].astype(int)
        differences = [np.abs(shown - frame).mean() for frame in frames]
        assert int(np.argmin(differences)) == number
    assert (strip[:, 80:82] == 255).all()


def test_odd_shapes_and_broken_files(tmp_path):
    (tmp_path / "odd.avi").write_bytes(
        encoded.encode(encoded.moving_square(1, height=70, width=222), "mpeg4", "avi")
    )
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    source = FolderSource(str(tmp_path))
    broken, odd = example_strips(source, [0, 1], num_frames=2, height=48)
    assert "broken.mp4" in broken
    assert odd.shape[0] == 48


@given(st.integers(0, 25), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_the_choice_is_the_same_each_time_and_of_the_right_kind(videos, count, seed):
    rng = np.random.default_rng(seed)
    right = rng.random(videos) < 0.5
    known = rng.random(videos) < 0.8
    confidence, predicted = rng.random(videos), rng.integers(0, 4, videos)
    arguments = (right & known, ~right & known, confidence, predicted, count)
    rights, wrongs = choose_examples(*arguments)
    assert (rights, wrongs) == choose_examples(*arguments)
    assert len(rights) == len(set(rights)) == min(count, int((right & known).sum()))
    assert len(wrongs) == len(set(wrongs)) == min(count, int((~right & known).sum()))
    assert all(right[video] and known[video] for video in rights)
    assert not any(right[video] or not known[video] for video in wrongs)
    assert [confidence[video] for video in wrongs] == sorted(confidence[wrongs], reverse=True)


def test_wrong_ones_are_the_most_confident_of_different_classes_first():
    confidence = np.array([0.9, 0.95, 0.8, 0.7, 0.6])
    predicted = np.array([1, 1, 1, 2, 3])
    none, wrong = np.zeros(5, bool), np.ones(5, bool)
    assert choose_examples(none, wrong, confidence, predicted, 3) == ([], [1, 3, 4])
    assert choose_examples(none, wrong, confidence, predicted, 4) == ([], [1, 0, 3, 4])
