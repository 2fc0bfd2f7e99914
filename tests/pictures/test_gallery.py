import numpy as np
import shrunk

from mgm_jax.data.sources import FolderSource
from mgm_jax.pictures import gallery


def test_raft_whose_motion_the_host_does_not_read_is_drawn(video_folder, monkeypatch):
    motion, valid = np.full((1, 8, 4, 4, 2), 3.0), np.ones((1, 8), bool)
    monkeypatch.setattr(
        gallery.pretrain_step, "make_motion_fn", lambda _: lambda batch: (motion, valid)
    )
    config = shrunk.recipe("demo_pretrain", video_folder, data__motion="raft", num_pictures=2)
    clips = gallery.read_clips(config, FolderSource(str(video_folder)))
    assert len(clips) == 2
    for clip in clips:
        np.testing.assert_array_equal(gallery.guiding_motion(config, clip), motion[0])
        assert clip.batch["motion_valid"].all()
