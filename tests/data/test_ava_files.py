import pytest

from mgm_jax.data.ava_files import check_versions, read_actions, read_rows, write_rows
from mgm_jax.errors import ConfigError

BOX = "0.077,0.151,0.283,0.811"


def read(tmp_path, text, kind="detections", num_actions=80):
    (tmp_path / "boxes.csv").write_text(text)
    return read_rows(tmp_path / "boxes.csv", "--boxes", kind, num_actions)


def test_published_rows(tmp_path):
    text = f"-5KQ66BBWC4,0902,{BOX},80,1\n\n-5KQ66BBWC4,902,{BOX},9,1\n_a_b,1798\n"
    rows = read(tmp_path, "\ufeff" + text, "annotations")
    assert rows.images == ("-5KQ66BBWC4_0902", "_a_b_1798")
    assert rows.image.tolist() == [0, 0]
    assert rows.boxes[0].tolist() == [0.077, 0.151, 0.283, 0.811]
    assert (rows.actions.tolist(), rows.people.tolist()) == ([79, 8], [1, 1])
    found = read(tmp_path, f"_a_b,0902,{BOX},,0.25\n_a_b,0902,{BOX},3,1\n")
    assert (found.actions.tolist(), found.scores.tolist()) == ([-1, 2], [0.25, 1])
    written = write_rows(found).splitlines()
    assert written[1] == "_a_b,0902,0.07700,0.15100,0.28300,0.81100,3,1.000000"


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        (f"a,0902,{BOX},3", "detections", "7 values"),
        (f"a,902.5,{BOX},3,1", "detections", r"second '902\.5'"),
        ("a,0902,0.5,0,0.4,1,3,1", "annotations", "not lie in the frame"),
        ("a,0902,0,0,1.01,1,3,1", "annotations", "not lie in the frame"),
        ("a,0902,0,0,nan,1,3,1", "annotations", "not lie in the frame"),
        ("a,0902,x,0,1,1,3,1", "annotations", "could not convert"),
        (f"a,0902,{BOX},0,1", "annotations", "no action 0"),
        (f"a,0902,{BOX},,1", "annotations", "action ''"),
        (f"a,0902,{BOX},81,0.5", "detections", "no action 81, only 1 to 80"),
        (f"a,0902,{BOX},3,-0.5", "detections", r"score -0\.5"),
        (f"video_id,frame,{BOX},3,1", "annotations", "second 'frame'"),
    ],
)
def test_other_rows_are_refused_by_their_line(tmp_path, line, kind, message):
    with pytest.raises(ConfigError, match=rf"--boxes: .*boxes\.csv, line 2: .*{message}.*found"):
        read(tmp_path, f"a,0901\n{line}\n", kind)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"--boxes: .*boxes\.csv is empty"):
        read(tmp_path, "")
    with pytest.raises(ConfigError, match=r"--boxes: .*boxes\.csv is not a csv file"):
        read(tmp_path, "x" * 200_000)
    for read_file in (
        lambda file: read_rows(file, "--boxes", "detections"),
        lambda file: read_actions(file, "--boxes", 80),
    ):
        with pytest.raises(ConfigError, match=r"--boxes: no.* file at .*none"):
            read_file(tmp_path / "none")


def test_both_published_forms_of_the_actions(tmp_path):
    file = tmp_path / "list.pbtxt"
    file.write_text('label {\n  name: "stand"\n  label_id: 12\n  label_type: PERSON_MOVEMENT\n}\n')
    assert read_actions(file, "--actions", 80) == {12: "stand"}
    file.write_text('item {\n  name: "text on/look at a cellphone"\n  id: 57\n}\n')
    assert read_actions(file, "--actions", 80) == {57: "text on/look at a cellphone"}


def test_versions(tmp_path):
    check_versions(
        ["ava_val_v2.2.csv", "ava_action_list_v2.2_for_activitynet_2019.pbtxt", "x"], "-"
    )
    with pytest.raises(ConfigError, match="different versions of AVA"):
        check_versions(["ava_val_v2.2.csv", "ava_action_list_v2.1_for_activitynet_2018.pbtxt"], "-")
