import os
import shutil

import pytest

from mgm_jax.data.identity import group_of, shared_videos
from mgm_jax.data.sources import FolderSource


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("Archery/v_Archery_g01_c02.avi", "v_Archery_g01"),
        ("x/dQw4w9WgXcQ_000010_000020.mp4", "dQw4w9WgXcQ"),
        ("dive/Film_one_dive_f_cm_np1_le_bad_3.avi", "Film_one_dive"),
        ("prelinger_LetsBeGo1953_wave_u_cm_np10_ba_med_2.avi", "prelinger_LetsBeGo1953_wave"),
        ("-mmq0PT-u8k_00155.mp4", "-mmq0PT-u8k"),
        ("REC_240103_101503.mp4", "REC_240103_101503.mp4"),
        ("wave/daria_wave.avi", "wave/daria_wave.avi"),
    ],
)
def test_clips_of_one_recording_are_a_group(name, group):
    assert group_of(name) == group


@pytest.mark.parametrize("make", [shutil.copy, os.link, os.symlink])
def test_the_same_video_is_found_under_another_name(tmp_path, make):
    for name, content in (("a", b"1" * 300_000), ("b", b"2" * 300_000), ("c", b"")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.mp4").write_bytes(content)
    (tmp_path / "d").mkdir()
    make(tmp_path / "a" / "a.mp4", tmp_path / "d" / "x.mp4")
    (tmp_path / "d" / "empty.mp4").touch()
    one, two, three, other = (FolderSource(str(tmp_path / name)).facts() for name in "abcd")
    assert [(f.name, g.name) for f, g in shared_videos(other, one + two)] == [("x.mp4", "a.mp4")]
    assert shared_videos(one, two) == shared_videos(three, other) == []
