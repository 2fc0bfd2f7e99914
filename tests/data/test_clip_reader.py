import numpy as np
import rendered

from data_prep import transcode
from mgm_jax.data.clip_reader import ReadSpec, read_clips
from mgm_jax.data.crops import Crop
from mgm_jax.data.decoding import Video
from mgm_jax.data.motion import flow_files
from mgm_jax.data.records import VideoRecord


def test_boxes_and_motion_of_every_crop_lie_in_the_frame(tmp_path):
    """Crops larger than the host crop, which the host scales down, among them."""
    frames = rendered.moving_square(0, frames=12, height=96, width=160)
    data = transcode.encode_h264(frames, fps=25, profile=transcode.PROFILES["low_delay"])
    # The vector of a cell is the place of its centre.
    cells = np.stack(np.meshgrid(np.arange(20) * 8 + 4, np.arange(12) * 8 + 4), -1)
    path = flow_files.flow_path(tmp_path, "a")
    flow_files.write_flow(path, np.tile(cells, (12, 1, 1, 1)).astype(np.float16), data)
    settings = {"motion": "flow", "flow_path": str(tmp_path)}
    spec = ReadSpec(clip_frames=4, stride=2, size=32, host_crop_size=64, **settings)
    crops = [Crop(8, 60, 80, 72), Crop(0, 30, 60, 90, True), Crop(20, 90, 40, 50)]
    with Video(data) as video:
        clips = read_clips(spec, video, VideoRecord(data, "a", 0), np.arange(4), crops, (96, 160))
    box, frame, place = (clips[name] for name in ("crop_box", "frame_box", "source_box"))
    scale = np.array([96, 160]) / frame[:, 2:]
    np.testing.assert_allclose((box[:, :2] - frame[:, :2]) * scale, place[:, :2], atol=1e-3)
    np.testing.assert_allclose(box[:, 2:] * scale, place[:, 2:], atol=1e-3)
    centres = (np.arange(4) + 0.5) / 4
    for copy, crop in enumerate(crops):
        own = (crop.top, crop.left, crop.height, crop.width)
        np.testing.assert_allclose(place[copy], own, atol=1e-3)
        along = 1 - centres if crop.flip else centres
        sign = -1 if crop.flip else 1
        x = clips["motion"][copy, 0, 0, :, 0] * crop.width / 32 * sign
        y = clips["motion"][copy, 0, :, 0, 1] * crop.height / 32
        assert np.abs(x - crop.left - along * crop.width).max() <= 4.01
        assert np.abs(y - crop.top - centres * crop.height).max() <= 4.01
