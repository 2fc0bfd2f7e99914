import collections
import shutil

import pytest
import rendered
import shrunk

from data_prep import demo
from data_prep.conversion import Settings
from data_prep.entries import DatasetOptions
from data_prep.prepare import prepare
from mgm_jax.data.manifest import make_manifest
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation.videos import evenly_spaced, open_videos, reopen_videos


def recipe(data_path, **changes):
    return shrunk.recipe("demo_finetune", data_path, eval__allow_overlap=False, **changes)


def names(source):
    return [source[index].video_id for index in range(len(source))]


def test_other_classes_are_refused(video_folder):
    config = recipe(video_folder)
    with pytest.raises(ConfigError, match=r"config\.eval: .* up;"):
        reopen_videos(config, config, ("even", "odd", "up"))


def test_evenly_spaced_keeps_classes_and_ends(video_folder):
    source = FolderSource(str(video_folder))
    some = evenly_spaced(source, 3)
    assert names(some) == [source[i].video_id for i in (0, 5, 11)]
    assert some.class_names == source.class_names
    assert some.describe(2) == source.describe(11)
    assert evenly_spaced(source, 0) is source


@pytest.fixture(scope="module")
def places(video_folder, tmp_path_factory):
    """The twelve videos, and some or all of them in other places and forms."""
    root = tmp_path_factory.mktemp("places")
    (root / "linked").symlink_to(video_folder)
    shutil.copytree(video_folder, root / "copied")
    some = [f"even/video_{number:02d}.mp4" for number in (0, 2)]
    some.append("odd/video_01.mp4")
    for name in some:
        (root / "hard" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "hard" / name).hardlink_to(video_folder / name)
        (root / "renamed" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video_folder / name, root / "renamed" / f"{name[:-4]}_x.mp4")
    rendered.write_folder(root / "others", 2, height=32, width=48, frames=12)
    for name, videos in (("prepared", video_folder), ("again", root / "copied")):
        settings, options = Settings("low_delay", 0), DatasetOptions(name=name)
        prepare("folder", str(videos), root / name, options=options, settings=settings)
    lines = "\n".join(f"{name},{name[:4].rstrip('/')}" for name in some)
    (root / "no_split.csv").write_text(f"path,label\n{lines}\n")
    spelled = [f"./{name},{name[:4].rstrip('/')},test" for name in some]
    spelled += [f"{name},{name[:4].rstrip('/')},train" for name in some]
    (root / "both.csv").write_text("path,label,split\n" + "\n".join(spelled) + "\n")
    return root


@pytest.mark.parametrize(
    ("train", "evaluated", "count"),
    [
        ("videos", None, "12 of the 12"),
        ("videos", "linked", "12 of the 12"),
        ("videos", "copied", "12 of the 12"),
        ("videos", "hard", "3 of the 3"),
        ("hard", "videos", "3 of the 12"),
        ("videos", "renamed", "3 of the 3"),
        ("videos", "others", None),
        ("no_split.csv", None, "3 of the 3"),
        ("both.csv", None, "3 of the 3"),
        ("videos", "prepared", "12 of the 12"),
        ("prepared", "renamed", "3 of the 3"),
        ("prepared", None, "12 of the 12"),
        ("prepared", "again", "12 of the 12"),
        ("prepared", "others", None),
    ],
)
def test_videos_that_are_trained_on_are_not_evaluated(
    places, video_folder, train, evaluated, count
):
    def place(name):
        kinds = {"prepared": "records", "again": "records"}
        path = video_folder if name == "videos" else places / name
        return ("csv" if name.endswith(".csv") else kinds.get(name, "folder"), str(path))

    source, path = place(train)
    config = recipe(path, data__source=source, data__root=str(video_folder))
    config.eval.split = "test" if train == "both.csv" else "train"
    if evaluated:
        config.eval.source, config.eval.path = place(evaluated)
    if count is None:
        assert len(open_videos(config).evaluated) == 2
        return
    with pytest.raises(ConfigError, match=rf"{count} .*--config\.eval\.holdout=0\.2"):
        open_videos(config)
    config.eval.allow_overlap = True
    assert open_videos(config).evaluated is not None


def test_pretraining_evaluates_nothing_and_splits_of_a_data_set_are_apart(video_folder, tmp_path):
    assert open_videos(shrunk.recipe("demo_pretrain", video_folder)).evaluated is None
    demo.make_demo(tmp_path / "demo", num_train=3, num_validation=2, seed=0)
    videos = open_videos(recipe(tmp_path / "demo", data__source="records"))
    assert (len(videos.train), len(videos.evaluated)) == (3, 2)


def test_a_part_is_held_out_and_held_out_again(video_folder, places, tmp_path):
    config = recipe(video_folder, eval__holdout=0.2)
    videos = open_videos(config)
    held = names(videos.evaluated)
    assert collections.Counter(name.split("/")[0] for name in held) == {"even": 1, "odd": 1}
    assert not set(held) & set(names(videos.train))
    assert len(videos.train) == 10
    pretrain = shrunk.recipe("demo_pretrain", video_folder, eval__holdout=0.2)
    assert names(open_videos(pretrain).train) == names(videos.train)
    for place in (video_folder, places / "copied"):
        assert names(open_videos(recipe(place, eval__holdout=0.2)).evaluated) == held
    assert any(
        names(open_videos(recipe(video_folder, eval__holdout=0.2, seed=seed)).evaluated) != held
        for seed in (1, 2, 3)
    )
    # The evaluation's command need not repeat the seed and the share.
    saved, config = config, recipe(video_folder, seed=5)
    classes, manifest = videos.train.class_names, make_manifest(videos.train)
    assert names(reopen_videos(config, saved, classes, manifest).evaluated) == held
    config.data.path = str(tmp_path / "more")
    shutil.copytree(video_folder, config.data.path)
    assert names(reopen_videos(config, saved, classes, manifest).evaluated) == held
    shutil.copy(places / "others" / "odd" / "video_01.mp4", tmp_path / "more" / "odd" / "new.mp4")
    with pytest.raises(ConfigError, match=r"not those that the run held out .* added"):
        reopen_videos(config, saved, classes, manifest)
    config.eval.path = str(video_folder)
    with pytest.raises(ConfigError, match="10 of the 12"):
        reopen_videos(config, saved, videos.train.class_names)
    config.eval.holdout = 0.5
    with pytest.raises(ConfigError, match=r"holdout=0\.5.*trained with 0\.2"):
        reopen_videos(config, saved, videos.train.class_names)
    with pytest.raises(ConfigError, match=r"config\.eval\.path both"):
        open_videos(config)


def test_videos_that_were_moved_from_training_are_not_evaluated(tmp_path, video_folder):
    train, test = shutil.copytree(video_folder, tmp_path / "train"), tmp_path / "test"

    def move(*paths):
        for path in paths:
            (test / path).parent.mkdir(parents=True, exist_ok=True)
            (train / path).rename(test / path)

    move("even/video_00.mp4", "odd/video_01.mp4")
    config = recipe(train, eval__path=str(test))
    videos = open_videos(config)
    known = (videos.train.class_names, make_manifest(videos.train))
    assert len(reopen_videos(config, config, *known).evaluated) == 2
    move("odd/video_03.mp4")
    with pytest.raises(ConfigError, match=r"1 of the 3 .* are trained on, .* odd/video_03.mp4"):
        reopen_videos(config, config, *known)


def write_list(folder, video_folder, splits):
    files = sorted(video_folder.rglob("*.mp4"))
    rows = [f"{file},{file.parent.name},{splits(number)}" for number, file in enumerate(files)]
    (folder / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    return str(folder / "list.csv")


def test_holding_out_and_a_split_of_the_data_are_not_both_taken(tmp_path, video_folder):
    path = write_list(tmp_path, video_folder, lambda n: "test" if n % 3 == 0 else "train")
    config = recipe(path, data__source="csv", eval__holdout=0.2, eval__split="test")
    with pytest.raises(ConfigError, match=r"the split 'test' .* --config\.eval\.holdout=0 for"):
        open_videos(config)
    config.eval.split = "train"
    videos = open_videos(config)
    assert videos.place == f"held out of {path}[train]"
    # Another split may be named later.
    again = config.copy_and_resolve_references()
    again.eval.update(split="test", holdout=0.0)
    classes, manifest = videos.train.class_names, make_manifest(videos.train)
    found = reopen_videos(again, config, classes, manifest)
    assert found.place == f"{path}[test]"
    assert len(found.evaluated) == 4


def test_the_head_of_a_probe_is_chosen_on_the_same_videos_again(tmp_path, video_folder, places):
    changes = {"eval__holdout": 0.2, "eval__allow_overlap": False}
    config = shrunk.recipe("small_linear_probe", video_folder, **changes)
    config.probe.held_out = 0.3
    videos = open_videos(config)
    again = config.copy_and_resolve_references()
    again.probe.held_out = 0.5
    again.eval.path = str(places / "others")
    classes, manifest = videos.train.class_names, make_manifest(videos.train)
    found = reopen_videos(again, config, classes, manifest)
    assert names(found.held_out) == names(videos.held_out)
    assert len(found.evaluated) == 2
    again.data.path = str(shutil.copytree(video_folder, tmp_path / "more"))
    shutil.copy(places / "others" / "odd" / "video_01.mp4", tmp_path / "more" / "odd" / "new.mp4")
    with pytest.raises(ConfigError, match=r"added.*to choose the head of a probe"):
        reopen_videos(again, config, classes, manifest)


def test_videos_without_a_class_are_named(tmp_path, video_folder):
    shutil.copytree(video_folder, tmp_path / "videos")
    (tmp_path / "videos" / "loose.mp4").write_bytes(b"not read")
    with pytest.raises(ConfigError, match="1 of the 13 videos have no class, the first is loose"):
        open_videos(recipe(tmp_path / "videos"))
    (tmp_path / "list.csv").write_text("path\neven/video_00.mp4\n")
    config = recipe(tmp_path / "list.csv", data__source="csv", data__root=str(video_folder))
    with pytest.raises(ConfigError, match="1 of the 1 videos have no class"):
        open_videos(config)
    (tmp_path / "videos" / "loose.mp4").rename(tmp_path / "loose.mp4")
    (tmp_path / "split").mkdir()
    for name, split in (("even", "train"), ("odd", "test")):
        shutil.move(tmp_path / "videos" / name, tmp_path / "split" / split)
    with pytest.raises(ConfigError, match=r"are splits.*--config\.eval\.path"):
        open_videos(recipe(tmp_path / "split"))


def test_a_numbered_list_may_lack_the_last_classes(video_folder, tmp_path):
    for name, text in (
        ("train", "even/video_00.mp4 0\nodd/video_01.mp4 1\n"),
        ("test", "even/video_02.mp4 0\n"),
    ):
        (tmp_path / f"{name}.csv").write_text(text)
    config = recipe(tmp_path / "train.csv", data__source="csv", data__root=str(video_folder))
    config.eval.path = str(tmp_path / "test.csv")
    assert open_videos(config).evaluated.class_names == ("0", "1")


def test_folders_have_no_splits_to_name(places):
    config = recipe(places / "copied", eval__path=str(places / "others"))
    assert open_videos(config).place == str(places / "others")
    config.eval.split = "nonsense"
    with pytest.raises(ConfigError, match=r"eval\.split=nonsense: .*others has no splits"):
        open_videos(config)


def test_a_refusal_names_the_flag_of_the_evaluation(places):
    config = recipe(places / "copied", eval__path=str(places / "nowhere"))
    with pytest.raises(ConfigError, match=r"^config\.eval\.path"):
        open_videos(config)
