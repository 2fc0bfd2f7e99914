import functools

import command_line
import encoded
import numpy as np
import pytest

from mgm_jax.data.motion import flow_files
from mgm_jax.data.sources import FolderSource
from mgm_jax.flow import precompute
from tests.data.video.test_decoder import damaged

COMMAND = "mgm_jax.flow.precompute"


def test_a_folder_is_computed_and_resumed(tmp_path):
    square_video = encoded.encode(encoded.moving_square(14, height=140, width=176))
    for name in ("a/one.mp4", "a/two.mp4", "b/three.mp4", "b/broken.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(square_video if "broken" not in name else b"not a video")
    source = FolderSource(str(tmp_path / "videos"))
    calls = []

    def flow(clip):
        calls.append(clip)
        return np.ones((len(clip.luma) - 1, 18, 22, 2), np.float32)

    failures = precompute.write_flow_of_videos(source, tmp_path / "flow", flow)
    assert len(calls) == 3
    assert [("broken.mp4" in failure) for failure in failures] == [True]
    made = sorted(path for path in (tmp_path / "flow").rglob("*") if path.is_file())
    names = ["a/one.mp4.flow.npz", "a/two.mp4.flow.npz", "b/three.mp4.flow.npz"]
    assert [str(path.relative_to(tmp_path / "flow")) for path in made] == names
    motion, valid = flow_files.read_flow(made[0], [0, 5], (14, 18, 22), square_video)
    np.testing.assert_allclose(motion[1, ..., 0], 1)
    np.testing.assert_array_equal(valid, [False, True])
    made[1].unlink()
    other = encoded.encode(encoded.moving_square(14, height=140, width=176)[::-1])
    (tmp_path / "videos" / "b" / "three.mp4").write_bytes(other)
    precompute.write_flow_of_videos(source, tmp_path / "flow", flow)
    assert len(calls) == 5
    assert flow_files.has_flow(made[1], square_video)
    assert flow_files.has_flow(made[2], other)


def test_damage_is_accepted_on_request(tmp_path):
    content = encoded.encode(encoded.moving_square(40))
    (tmp_path / "a.mp4").write_bytes(damaged(content, slice(12, 13), slice(300, 400)))
    source = FolderSource(str(tmp_path))

    def flow(clip):
        return np.zeros((len(clip.luma) - 1, 18, 22, 2), np.float32)

    write = functools.partial(precompute.write_flow_of_videos, source, tmp_path / "flow", flow)
    (failure,) = write()
    assert "--config.data.allow_damage" in failure
    assert write(allow_damage=True) == []


@pytest.mark.slow
def test_the_command_makes_flow_and_reports_what_failed(tmp_path):
    pytest.importorskip("cv2", reason="Dense Inverse Search needs opencv-python-headless")
    videos, out = tmp_path / "videos", tmp_path / "flow"
    videos.mkdir()
    (videos / "square.mp4").write_bytes(encoded.encode(encoded.moving_square(5)))
    (videos / "broken.mp4").write_bytes(b"not a video")
    done = command_line.run(COMMAND, f"--videos={videos}", f"--out={out}", "--method=dis")
    assert done.returncode == 1
    assert "broken.mp4" in done.stderr
    path = flow_files.flow_path(out, "square.mp4")
    motion, valid = flow_files.read_flow(path, range(5), (5, 18, 22), str(videos / "square.mp4"))
    assert motion.shape == (5, 18, 22, 2)
    assert valid.tolist() == [False, True, True, True, True]
    np.testing.assert_allclose(motion[2, 5:9, 6:10], np.broadcast_to((4, 2), (4, 4, 2)), atol=0.3)


def test_the_command_without_weights_names_the_cure(tmp_path, video_folder):
    done = command_line.run(COMMAND, f"--videos={video_folder}", f"--out={tmp_path / 'flow'}")
    assert done.returncode == 1
    assert "--weights is missing" in done.stderr
    assert "--method=dis" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "flow").exists()
