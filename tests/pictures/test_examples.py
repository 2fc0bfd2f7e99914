import encoded
import numpy as np
import pytest
import rendered
from hypothesis import given
from hypothesis import strategies as st

from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import VideoError
from mgm_jax.pictures.examples import choose_examples, frame_strip


def test_strips_show_the_first_to_the_last_frame(tmp_path):
    folder = rendered.write_folder(tmp_path, num_videos=2, frames=9, height=64, width=80)
    source = FolderSource(str(folder))
    strip = frame_strip(source, 1, num_frames=3, height=64)
    assert strip.shape == (64, 3 * 82 - 2, 3)
    frames = [
        frame.to_ndarray(format="rgb24").astype(int)
        for frame in encoded.decode_all(folder / source[1].video_id)
    ]
    for place, number in enumerate((0, 4, 8)):
        shown = strip[:, place * 82 : place * 82 + 80].astype(int)
        differences = [np.abs(shown - frame).mean() for frame in frames]
        assert int(np.argmin(differences)) == number
        assert min(differences) < 2
    assert (strip[:, 80:82] == 255).all()


def test_odd_shapes_and_broken_files(tmp_path):
    (tmp_path / "odd.avi").write_bytes(
        encoded.encode(encoded.moving_square(1, height=70, width=222), "mpeg4", "avi")
    )
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    source = FolderSource(str(tmp_path))
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        frame_strip(source, 0)
    assert frame_strip(source, 1, num_frames=2, height=48).shape[0] == 48


@given(st.integers(0, 25), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_the_choice_is_the_same_each_time_and_of_the_right_kind(videos, count, seed):
    rng = np.random.default_rng(seed)
    right = rng.random(videos) < 0.5
    known = rng.random(videos) < 0.8
    confidence, predicted = rng.random(videos), rng.integers(0, 4, videos)
    arguments = (right & known, ~right & known, confidence, predicted, count)
    correct, wrong = choose_examples(*arguments)
    assert (correct, wrong) == choose_examples(*arguments)
    assert len(correct) == len(set(correct)) == min(count, int((right & known).sum()))
    assert len(wrong) == len(set(wrong)) == min(count, int((~right & known).sum()))
    assert all(right[video] and known[video] for video in correct)
    assert not any(right[video] or not known[video] for video in wrong)
    assert [confidence[video] for video in wrong] == sorted(confidence[wrong], reverse=True)


def test_wrong_examples_have_different_classes_first():
    confidence = np.array([0.9, 0.95, 0.8, 0.7, 0.6])
    predicted = np.array([1, 1, 1, 2, 3])
    none, wrong = np.zeros(5, bool), np.ones(5, bool)
    assert choose_examples(none, wrong, confidence, predicted, 3) == ([], [1, 3, 4])
    assert choose_examples(none, wrong, confidence, predicted, 4) == ([], [1, 0, 3, 4])
