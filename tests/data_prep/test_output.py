import shutil

import pytest

from data_prep import output
from data_prep.conversion import Settings
from mgm_jax.errors import ConfigError

REQUEST = {"name": "toy", "seed": 3}


def test_a_complete_dataset_is_not_made_again(videos, tmp_path, run, contents):
    run(videos, tmp_path / "out")
    before = contents(tmp_path / "out")
    shutil.rmtree(videos / "a")
    assert run(videos, tmp_path / "out") is None
    assert contents(tmp_path / "out") == before
    with pytest.raises(ConfigError, match=r"another dataset .*72.*-> .*64"):
        run(videos, tmp_path / "out", settings=Settings("low_delay", 64))


def test_other_folders_are_refused(tmp_path):
    assert not output.is_complete(tmp_path / "absent", REQUEST)
    assert not output.is_complete(tmp_path, REQUEST)
    (tmp_path / "thesis.tex").touch()
    for folder in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(ConfigError, match=f"--out: {folder} .*name"):
            output.is_complete(folder, REQUEST)


def test_a_folder_is_built_by_one_process_and_for_one_request(tmp_path):
    out = tmp_path / "out"
    with output.building(out, REQUEST) as work:
        (work / "dataset" / "a.new-17").touch()
        with pytest.raises(ConfigError, match=r"process \d+ on "), output.building(out, REQUEST):
            pass
    with output.building(out, REQUEST):
        assert not list((work / "dataset").iterdir())
    with (
        pytest.raises(ConfigError, match=r"seed: 3 -> 4.*"),
        output.building(out, {"name": "toy", "seed": 4}),
    ):
        pass


def test_a_dataset_of_other_videos_or_classes_is_refused(tmp_path, one_video, run, caplog):
    videos, table = tmp_path / "videos", tmp_path / "list.csv"
    videos.mkdir()
    rows = {"1.mp4": "a", "2.mp4": "b", "broken.mp4": "b"}
    for name in (*rows, "3.mp4"):
        (videos / name).write_bytes(b"no video" if name == "broken.mp4" else one_video)

    def prepare(rows):
        lines = "".join(f"{path},{label},train\n" for path, label in rows.items())
        table.write_text(f"path,label,split\n{lines}")
        return run(videos, tmp_path / "out", "csv", table)

    assert prepare(rows)
    with caplog.at_level("INFO", "absl"):
        assert prepare(rows) is None
    assert "nothing to do (unreadable: 1 videos" in caplog.text
    with pytest.raises(ConfigError, match=r"made of other videos .*another class: .*1.mp4.*a -> c"):
        prepare(rows | {"1.mp4": "c"})
    with pytest.raises(ConfigError, match=r"made of other videos .*3.mp4.* added"):
        prepare(rows | {"3.mp4": "a"})
    (videos / "2.mp4").write_bytes(one_video + b"longer")
    with pytest.raises(ConfigError, match=r"made of other videos .*other content: .*2.mp4"):
        prepare(rows)


def test_classes_of_other_numbers_are_refused(tmp_path, one_video, run):
    videos, table = tmp_path / "videos", tmp_path / "list.csv"
    videos.mkdir()

    def prepare(**numbers):
        for name in numbers:
            (videos / f"{name}.mp4").write_bytes(one_video)
        lines = "".join(f"{name}.mp4,{name},{number}\n" for name, number in numbers.items())
        table.write_text(f"path,label,label_id\n{lines}")
        return run(videos, tmp_path / "out", "csv", table)

    assert prepare(a=0, b=1, c=2)
    assert prepare(a=0, b=1, c=2) is None
    assert prepare(b=0, c=1) is None  # Videos that are gone do not matter.
    for other, now in (({"a": 1, "b": 0, "c": 2}, "b"), ({"c": 0, "b": 1}, "c")):
        with pytest.raises(ConfigError, match=rf"class 0 was 'a' and is now '{now}'"):
            prepare(**other)


def test_every_file_is_compared_by_its_size(tmp_path, one_video, run, monkeypatch):
    videos = tmp_path / "videos"
    (videos / "a").mkdir(parents=True)
    for number in range(4):
        (videos / "a" / f"{number}.mp4").write_bytes(one_video)
    monkeypatch.setattr(output, "_FINGERPRINTS", 2)
    run(videos, tmp_path / "out")
    (videos / "a" / "1.mp4").write_bytes(one_video + b"longer")
    with pytest.raises(ConfigError, match=r"other content: .*1\.mp4"):
        run(videos, tmp_path / "out")


def test_a_link_to_an_empty_folder_is_refused_before_the_work(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with pytest.raises(ConfigError, match=rf"is a link .*, such as {tmp_path}/out/dataset"):
        output.is_complete(tmp_path / "out", REQUEST)
