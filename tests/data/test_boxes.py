import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from one_video import OneVideo

from data_prep import transcode
from mgm_jax.data import boxes
from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.records import VideoRecord
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError, VideoError
from mgm_jax.preprocessing import rgb as preprocess

NAN = (np.nan,) * 4
VIDEO = "run_A_(b)_run_1"


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"groundtruths_jhmdb/{name}.txt", text)
    return str(path)


@pytest.fixture
def published(tmp_path):
    texts = {1: "15 1 1 320 240\n", 2: "15 11 21 12 22\n15 5 5 8 9\n", 4: ""}
    files = {f"{VIDEO}_{frame:05d}": text for frame, text in texts.items()}
    return write_zip(tmp_path / "boxes.zip", files)


def test_jhmdb_boxes_are_edges_counted_from_zero(published):
    expected = [
        [(0, 0, 320, 240), NAN],
        [(10, 20, 12, 22), (4, 4, 8, 9)],
        [NAN, NAN],
        [NAN, NAN],
    ]
    found = boxes.read_jhmdb_boxes(published)
    assert list(found) == [VIDEO]
    np.testing.assert_array_equal(found[VIDEO], np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("frame", "1 1 1 2 2"), ("a_b_00000", "1 1 1 2 2")),
        *(("a_b_00001", "1 1 2 2"), ("a_b_00001", "one 1 1 2 2")),
    ],
)
def test_other_files_are_named(tmp_path, name, text):
    file = write_zip(tmp_path / "boxes.zip", {name: text})
    with pytest.raises(ConfigError, match=rf"{name}.*not a file of boxes"):
        boxes.read_jhmdb_boxes(file)


def test_files_without_boxes_are_named(tmp_path):
    write_zip(tmp_path / "empty.zip", {"__MACOSX/a/._walk_a_00001": b"\xa3"})
    (tmp_path / "a.zip").write_bytes(b"no zip")
    for file in ("empty.zip", "a.zip", "missing.zip"):
        with pytest.raises(ConfigError, match=file):
            boxes.read_jhmdb_boxes(tmp_path / file)


@pytest.fixture
def folder(tmp_path):
    for name in (f"run/{VIDEO.removeprefix('run_')}.avi", "sit/other.avi"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True)
        (tmp_path / "videos" / name).write_bytes(b"not read")
    return tmp_path / "videos"


def test_videos_get_their_boxes_by_class_and_name(folder, published):
    data = ConfigDict({"source": "folder", "path": str(folder), "split": "", "root": ""})
    plain, source = boxes.open_with_boxes(data), boxes.open_with_boxes(data, published)
    source = pickle.loads(pickle.dumps(source))
    assert len(source) == len(plain) == 2
    assert source.class_names == ("run", "sit")
    assert source[0] == plain[0]
    assert source[0].boxes.shape == (4, 2, 4)
    assert source[1].boxes is None
    assert plain[0].boxes is None
    assert source.describe(1) == plain.describe(1)
    # A folder of one class: its name still counts.
    one_class = boxes.BoxedSource(
        FolderSource(str(folder / "run")), boxes.read_jhmdb_boxes(published)
    )
    assert one_class[0].boxes is not None


def test_boxes_of_other_videos_are_refused(folder, published):
    with pytest.raises(ConfigError, match=r"none of the 1 videos.*run_A.*'sit_other'"):
        boxes.BoxedSource(FolderSource(str(folder / "sit")), boxes.read_jhmdb_boxes(published))


def test_boxes_of_a_longer_or_larger_video_are_refused():
    known = np.full((3, 2, 4), np.nan, np.float32)
    boxes.check_boxes(known, (80, 100), 3, "clip")
    known[1, 1] = (10, 20, 100, 80)
    boxes.check_boxes(known, (80, 100), 3, "clip")
    for size, num_frames in (((80, 100), 4), ((40, 100), 3), ((80, 50), 3)):
        with pytest.raises(VideoError, match=r"^clip: its boxes are of another video.*100x80"):
            boxes.check_boxes(known, size, num_frames, "clip")


@pytest.mark.parametrize("crop", ["multi_scale", "random_resized", "centre"])
def test_the_box_of_an_encoded_square_is_where_the_clip_shows_it(tmp_path, crop):
    height, width, frames = 120, 160, 12
    video = np.full((frames, height, width, 3), 16, np.uint8)
    known = np.full((frames, 1, 4), np.nan, np.float32)
    for i, frame in enumerate(video):
        top, left = 30 + 2 * i, 40 + 4 * i
        frame[top : top + 40, left : left + 48] = 235
        known[i, 0] = (left, top, left + 48, top + 40)
    profile = transcode.PROFILES["low_delay"]
    data = transcode.encode_h264(video, fps=25, profile=profile)

    # The host crop is smaller than the frame, so the host scales it down as well.
    spec = ReadSpec(clip_frames=4, stride=2, size=64, host_crop_size=96, motion="none")
    load = LoadClip(
        OneVideo(VideoRecord(data, "square", -1, known)),
        spec,
        crop=crop,
        flip=True,
        area=(0.3, 1.0),
        copies=4,
    )
    clips = load.random_map((0, 0), np.random.default_rng(3))
    assert clips["valid"].all()
    names = ("luma", "chroma", "crop_box", "flip", "yuv_to_rgb")
    batch = {name: jnp.asarray(clips[name]) for name in names}
    rgb = np.asarray(preprocess.batch_to_rgb(batch, size=64))
    seen = 0
    for copy in range(4):
        moved = boxes.crop_boxes(
            known[clips["frames"][copy]],
            clips["source_box"][copy],
            bool(clips["flip"][copy]),
            64,
        )
        for picture, box in zip(rgb[copy], moved[:, 0], strict=True):
            if np.isnan(box).any():
                continue
            bright = picture.mean(axis=-1) > 0.5
            rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
            shown = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            np.testing.assert_allclose(box, shown, atol=1.0)
            seen += 1
    assert seen >= 12
    assert crop == "centre" or 0 < clips["flip"].sum() < 4


def test_jhmdb_boxes_belong_to_the_videos(real_videos):
    file = real_videos.parent / "annotations" / "jhmdb" / "boxes_split1_test.zip"
    if not file.exists():
        pytest.skip(f"no boxes at {file}")
    found = boxes.read_jhmdb_boxes(file)
    assert len(found) == 268
    data = ConfigDict(
        {"source": "folder", "path": str(real_videos / "jhmdb"), "split": "", "root": ""}
    )
    source = boxes.open_with_boxes(data, str(file))
    records = [source[index] for index in range(len(source))]
    assert sum(record.boxes is not None for record in records) == 268
    for one in found.values():
        assert np.nanmin(one) >= 0
        assert np.nanmax(one[..., 0::2]) <= 320
        assert np.nanmax(one[..., 1::2]) <= 240
