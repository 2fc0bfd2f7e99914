"""What changes in a data set between two starts of a run, for every kind of source."""

import shutil

import pytest
import rendered

from mgm_jax.data import manifest
from mgm_jax.data.manifest import differences, make_manifest, shared_with
from mgm_jax.data.sources import make_source

VIDEOS = (("a/one", "a"), ("a/two", "a"), ("b/three", "b"))


def write(kind, folder, videos=VIDEOS):
    """Files of different lengths as a folder, a csv file or prepared records; opens them."""
    shutil.rmtree(folder, ignore_errors=True)
    files = []
    for name, _ in videos:
        files.append(folder / "files" / f"{name}.mp4")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_bytes(name.encode() * 9)
    if kind == "folder":
        return make_source(kind, str(folder / "files"), "train")
    if kind == "csv":
        rows = [f"files/{name}.mp4,{label}" for name, label in videos]
        (folder / "list.csv").write_text("path,label\n" + "\n".join(rows))
        return make_source(kind, str(folder / "list.csv"), "train")
    classes = sorted({label for _, label in videos})
    content = {name: file.read_bytes() for (name, _), file in zip(videos, files, strict=True)}
    labels = [classes.index(label) for _, label in videos]
    rendered.write_record_folder(folder / "records", content, labels, classes)
    return make_source(kind, str(folder / "records"), "train")


@pytest.mark.parametrize("kind", ["folder", "csv", "records"])
def test_what_was_renamed_swapped_or_relabelled_is_named(kind, tmp_path):
    before = make_manifest(write(kind, tmp_path / "data"))
    assert differences(before, make_manifest(write(kind, tmp_path / "moved"))) == []

    def change(*videos):
        return "\n".join(differences(before, make_manifest(write(kind, tmp_path / "data", videos))))

    renamed = change(("a/one", "a"), ("a/two", "a"), ("c/three", "c"))
    assert "classes: 'c' added; 'b' removed" in renamed
    swapped = change(("a/one", "a"), ("a/four", "a"), ("b/three", "b"))
    assert ("a/four" in swapped, "a/two" in swapped, "one" in swapped) == (True, True, False)
    if kind != "folder":  # Its paths are its labels.
        assert "a/two" in change(("a/one", "a"), ("a/two", "b"), ("b/three", "b"))
        assert change(VIDEOS[1], VIDEOS[0], VIDEOS[2])  # Another order gives other batches.
    if kind != "records":
        write(kind, tmp_path / "data")
        file = tmp_path / "data" / "files" / "a" / "one.mp4"
        file.write_bytes(file.read_bytes()[::-1])  # Of the same size.
        place = tmp_path / "data" / {"folder": "files", "csv": "list.csv"}[kind]
        (changed,) = differences(before, make_manifest(make_source(kind, str(place), "train")))
        assert changed.startswith("videos with other content: ")
        assert "a/one.mp4" in changed


@pytest.mark.parametrize("fingerprints", [1, 256])
@pytest.mark.parametrize("kind", ["folder", "csv", "records"])
def test_the_same_videos_are_found_elsewhere_and_under_other_paths(
    kind, fingerprints, tmp_path, monkeypatch
):
    monkeypatch.setattr(manifest, "_FINGERPRINTS", fingerprints)
    trained = make_manifest(write("csv", tmp_path / "trained"))
    videos = write(kind, tmp_path / "data", (*VIDEOS[1:], ("b/another", "b")))
    shared = shared_with(trained, videos.facts())
    assert [other for _, other in shared] == ["files/a/two.mp4", "files/b/three.mp4"]
    other = write(kind, tmp_path / "data", (("c/two", "a"), ("b/other", "b"))).facts()
    assert shared_with(trained, other) == []  # Of the same sizes.
