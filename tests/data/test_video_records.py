import numpy as np
import rendered

from mgm_jax.data.sources import CsvSource, FolderSource
from mgm_jax.data.video_records import UNLABELLED, VideoRecord, VideoSource


def test_what_can_be_trained_from_is_a_source(tmp_path):
    folder = rendered.write_folder(tmp_path / "videos")
    name = next(folder.rglob("*.mp4")).relative_to(tmp_path)
    (tmp_path / "list.csv").write_text(f"path\n{name}\n")
    for source in (FolderSource(str(folder)), CsvSource(str(tmp_path / "list.csv"), "train")):
        assert isinstance(source, VideoSource)
        assert source[0].profile == ""
    assert source[0].label == UNLABELLED
    assert not isinstance([source[0]], VideoSource)


def test_records_are_the_same_video_wherever_things_are_seen_in_it():
    boxes = np.zeros((2, 1, 4), np.float32)
    assert VideoRecord("a.mp4", "a", 0, boxes) == VideoRecord("a.mp4", "a", 0, boxes + 1)
    assert VideoRecord("a.mp4", "a", 0) != VideoRecord("a.mp4", "a", 1)
