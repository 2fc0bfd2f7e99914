import encoded
import numpy as np
import pytest

from benchmarks import motion_cost, motion_measurements
from mgm_jax.errors import ConfigError
from mgm_jax.flow import convert

B_FRAMES = "as downloaded (h264, B-frames)"
PREPARED = "prepared (low_delay)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    frames = encoded.moving_square(12, height=72, width=88)
    (folder / "b_frames.mp4").write_bytes(encoded.encode(frames, options=encoded.B_FRAMES))
    (folder / "mpeg4.avi").write_bytes(encoded.encode(frames, "mpeg4", "avi", b_frames=0))
    (folder / "no_vectors.webm").write_bytes(
        encoded.encode(frames, "libvpx", "webm", options={"deadline": "realtime"})
    )
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return motion_measurements.random_raft_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def costs(folder, weights):
    paths = motion_measurements.find_videos(str(folder), 10)
    return motion_measurements.measure(paths, weights, rounds=1)


def table(report, heading):
    lines = report.split(f"## {heading}\n\n")[1].split("\n\n")[0].split("\n")
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return header, {row[0]: row[1:] for row in rows}


def test_finds_the_videos_with_vectors(folder, tmp_path):
    found = motion_measurements.find_videos(str(folder), 10)
    assert [path.name for path in found] == ["b_frames.mp4", "mpeg4.avi"]
    assert len(motion_measurements.find_videos(str(folder), 1)) == 1
    with pytest.raises(ConfigError, match=r"--videos=.*: no video with motion vectors"):
        motion_measurements.find_videos(str(tmp_path), 10)


def test_random_weights_fit(weights):
    params = convert.load_weights(weights)
    assert np.abs(params["feature_encoder"]["stem"]["kernel"]).max() > 0


def test_every_way_of_reading_every_kind_is_measured(costs):
    assert {kind: (cost.num_videos, cost.num_frames) for kind, cost in costs.items()} == {
        B_FRAMES: (1, 12),
        PREPARED: (2, 24),
        "as downloaded (mpeg4)": (1, 12),
    }
    assert [cost.has_b_frames for cost in costs.values()] == [True, False, False]
    for cost in costs.values():
        assert all(seconds > 0 for seconds in (*cost.whole.values(), *cost.clips.values()))
        assert cost.whole[motion_measurements.RAFT] > cost.whole[motion_measurements.MAPS]


def test_report_holds_the_tables(costs):
    report = motion_cost.make_report(costs, "python -m this", "Videos: 2 of that.")
    assert "\n\n    python -m this\n\n" in report
    assert ". Videos: 2 of that." in report
    header, rows = table(report, "Whole videos")
    assert header[1:] == [
        "ms per video",
        "ms per frame",
        "x decode only",
        "adds",
        "x what maps add",
    ]
    for kind, cost in costs.items():
        only = rows[f"{kind}: decode only"]
        assert only[2:] == ["1.00", "0.0 %", ""]
        assert float(only[0]) * cost.num_videos == pytest.approx(
            1e3 * cost.whole[motion_measurements.DECODE], abs=0.11
        )
        assert f"{kind}: decode + codec vectors" in rows
        assert rows[f"{kind}: {motion_measurements.MAPS}"][-1] == "1.0"
        assert {f"{kind}: decode + {way}" for way in ("block matching", "RAFT-Small")} <= set(rows)
    header, rows = table(report, "Training clips")
    assert header[1:] == ["ms per clip", "x decode only", "adds"]
    assert len(rows) == 2 * len(costs)
    header, rows = table(report, "Where the time for vectors goes")
    assert set(rows) == set(costs)
    goals = report.split("## Goals\n\n")[1].split("\n")
    assert len(goals) == 3 * len(costs)
    for line in goals:
        assert line.endswith((": met.", ": missed."))


def test_goals_are_judged_by_the_numbers():
    cost = motion_measurements.Costs(has_b_frames=False)
    decode, vectors = motion_measurements.DECODE, motion_measurements.VECTORS
    maps, raft = motion_measurements.MAPS, motion_measurements.RAFT
    cost.whole.update({decode: 100.0, vectors: 112.0, maps: 115.0, raft: 2000.0})
    cost.clips.update({decode: 100.0, vectors: 109.0})
    verdicts = [line.rsplit(": ", 1)[1] for line in motion_cost.make_verdicts("kind", cost)]
    assert verdicts == ["missed.", "met.", "met."]
    cost.has_b_frames = True
    cost.whole[motion_measurements.RAFT] = 1000.0
    verdicts = [line.rsplit(": ", 1)[1] for line in motion_cost.make_verdicts("kind", cost)]
    assert verdicts == ["met.", "met.", "missed."]
