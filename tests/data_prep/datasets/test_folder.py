import pytest

from data_prep.datasets import read_dataset
from data_prep.entries import DatasetOptions
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("paths", "listed"),
    [
        (
            ("b/1.mp4", "b/deep/2.AVI", "a/3.webm", "4.mp4", "a/notes.txt", ".cache/5.mp4"),
            {
                "4.mp4": ("train", -1),
                "a/3.webm": ("train", 0),
                "b/1.mp4": ("train", 1),
                "b/deep/2.AVI": ("train", 1),
            },
        ),
        (
            ("Train/b/1.mp4", "val/a/2.mp4", "val/3.mp4"),
            {
                "Train/b/1.mp4": ("train", 1),
                "val/3.mp4": ("validation", -1),
                "val/a/2.mp4": ("validation", 0),
            },
        ),
    ],
)
def test_folders_of_classes_and_of_splits(lay_out, paths, listed):
    listing = read_dataset("folder", lay_out(*paths), DatasetOptions(name="mine"))
    assert (listing.name, listing.class_names) == ("mine", ("a", "b"))
    found = {entry.video_id: (entry.split, entry.label) for entry in listing.entries}
    assert list(found.items()) == list(listed.items())


def test_splits_beside_other_folders_are_refused(lay_out, tmp_path):
    videos = lay_out("train/a/1.mp4", "Test/a/2.mp4", "extra/a/3.mp4")
    with pytest.raises(ConfigError, match="Test, train are splits, and extra are beside them"):
        read_dataset("folder", videos, DatasetOptions())
    with pytest.raises(ConfigError, match="its folders Test, train are splits, not classes"):
        FolderSource(videos.folder)
    for vehicle in ("train", "car"):
        (tmp_path / "vehicles" / vehicle).mkdir(parents=True)
        (tmp_path / "vehicles" / vehicle / "1.mp4").touch()
    assert FolderSource(str(tmp_path / "vehicles")).class_names == ("car", "train")
