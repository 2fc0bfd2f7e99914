from benchmarks.video_files import videos_below


def test_an_even_part_of_the_sorted_videos_is_taken(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/1.mp4", "b/2.AVI", "0.mp4", "3.mkv", "notes.txt"):
        (tmp_path / name).touch()
    every = [tmp_path / name for name in ("0.mp4", "3.mkv", "b/1.mp4", "b/2.AVI")]
    assert videos_below(str(tmp_path), 9) == every
    assert videos_below(str(tmp_path), 2) == [every[0], every[2]]
    assert videos_below(str(tmp_path / "nothing"), 2) == []
