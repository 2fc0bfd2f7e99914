import json
import pathlib
import subprocess
import sys

import encoded
import numpy as np
import pytest
from PIL import Image

from data_prep.records import write_records
from data_prep.verify import draw, verify
from mgm_jax.errors import ConfigError

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def video():
    return encoded.encode(encoded.moving_square(20))


def record(video, name, label, **changes):
    return {
        "video": video,
        "video_id": name,
        "label": label,
        "fps": 25.0,
        "num_frames": 20,
        "height": 144,
        "width": 176,
        "profile": "low_delay",
        "encoder": "libx264",
        "boxes": np.zeros((0, 4), np.float32),
        **changes,
    }


def write(directory, rows, **splits):
    write_records(directory, "toy", ("clap", "wave", "jump"), {"train": rows, **splits})
    return directory


def test_a_good_dataset(video, tmp_path):
    rows = [record(video, str(i), i % 2) for i in range(5)]
    text, faults, sample = verify(write(tmp_path / "set", rows), 2)
    assert faults == []
    assert [checked.video_id for checked in sample] == ["0", "4"]
    assert "train: 5 records" in text
    assert "5 low_delay; 20 to 20 frames, median 20" in text
    assert f"   0 clap{' ' * 37}      3 {'#' * 30}" in text
    assert f"   1 wave{' ' * 37}      2 {'#' * 20}" in text
    assert "no record of 1 classes: jump" in text
    assert "of 2 decoded: 95.0% of the frames have motion vectors" in text
    assert "4 I, 36 P-frames" in text


def test_faults_are_named(video, tmp_path):
    rows = [record(video, "a", 0, num_frames=19), record(video[:500], "b", 1)]
    directory = write(tmp_path / "set", rows, test=[record(video, "c", -1, profile="")])
    report = {"splits": {"train": {"records": 2}, "test": {"records": 2}, "more": {"records": 0}}}
    (directory / "report.json").write_text(json.dumps(report))
    text, faults, _ = verify(directory, 9)
    assert "(no class)" in text
    assert "1 copied" in text
    wrong, damaged, lacking = faults
    assert wrong == "train: a: num_frames is 20, the record says 19"
    assert damaged.startswith("train: b: b: it cannot be opened")
    assert lacking == "test: 1 records, its report.json says 2"


def test_damaged_shards_are_named(video, tmp_path):
    directory = write(tmp_path / "set", [record(video, str(i), 0) for i in range(4)])
    (shard,) = directory.glob("*array_record*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 64] = bytes(64)
    shard.write_bytes(data)
    _, faults, _ = verify(directory, 1)
    assert any("cannot be read" in fault for fault in faults)


def test_repeated_ids_are_found(video, tmp_path):
    directory = write(tmp_path / "set", [record(video, "a", 0)], test=[record(video, "b", 0)])
    (shard,) = directory.glob("*test.array_record*")
    (train,) = directory.glob("*train.array_record*")
    shard.write_bytes(train.read_bytes())
    assert verify(directory, 1)[1] == ["test: a is also in train"]


def test_pictures_show_frames_and_motion(video, tmp_path):
    directory = write(tmp_path / "set", [record(video, "a", 0), record(video[:99], "b", 0)])
    sheet = draw(verify(directory, 2)[2], "toy")
    assert sheet.shape[1] > 8 * 160
    alone = draw(verify(directory, 1)[2], "toy")
    assert alone.shape == sheet.shape  # what cannot be decoded is not drawn
    # Frames are grey-blue with texture, the still part of a motion map is white.
    assert (sheet == 255).all(axis=-1).mean() > 0.3
    assert sheet.std() > 20


def test_the_command_line(video, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "data_prep.verify", *map(str, arguments)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
        )

    good = run(write(tmp_path / "good", [record(video, "a", 0)]))
    assert (good.returncode, "all is well" in good.stdout) == (0, True), good.stderr
    assert Image.open(tmp_path / "good.verify.png").size[0] > 1000
    bad = write(tmp_path / "bad", [record(video, "a", 0, height=2)])
    wrong = run(bad, f"--pictures={tmp_path / 'x.png'}")
    assert wrong.returncode == 1
    assert "WRONG: train: a: height is 144, the record says 2" in wrong.stdout


def test_other_folders_are_named(tmp_path):
    with pytest.raises(ConfigError, match="not a prepared dataset"):
        verify(tmp_path, 1)
