import pathlib

import command_line
import numpy as np
import pytest

from mgm_jax.data.ava_files import make_rows
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation import average_precision as ap

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
HALF, LESS = (0.0, 0.0, 0.25, 1.0), (0.0, 0.0, 0.24, 1.0)  # Of LEFT: 0.5, and below.
ONE = ("stand",)


def rows(*found, images=("a_0902",)):
    """Rows of (box, score) or (box, score, action, image)."""
    return make_rows(
        images, [(i, box, a, s, -1) for box, s, a, i in ((*f, 0, 0)[:4] for f in found)]
    )


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        # Right, wrong, right: precision 1 up to recall 1/2, then 2/3.
        ([LEFT, RIGHT], [(LEFT, 0.9), (LESS, 0.8), (RIGHT, 0.7)], 0.5 + 0.5 * 2 / 3),
        # Wrong, right, right: precision 1/2, then 2/3, which also holds before.
        ([LEFT, RIGHT], [(LESS, 0.9), (LEFT, 0.8), (RIGHT, 0.7)], 2 / 3),
        ([LEFT, RIGHT], [(LEFT, 0.9)], 0.5),
        ([LEFT], [(HALF, 0.9)], 1.0),
        ([LEFT], [(LESS, 0.9)], 0.0),
        ([LEFT], [], 0.0),
        # A repeated row is wrong; before the other right one it costs precision.
        ([LEFT, RIGHT], [(LEFT, 0.9), (LEFT, 0.8), (RIGHT, 0.7)], 0.5 + 0.5 * 2 / 3),
        # An annotation that is repeated is never found.
        ([LEFT, LEFT], [(LEFT, 0.9), (LEFT, 0.8)], 0.5),
        # Without an area it does not count, not even as wrong.
        ([LEFT], [((0.1, 0, 0.1, 1), 0.9), (LEFT, 0.8)], 1.0),
        # The largest overlap decides, even if that box is taken and another is near.
        ([LEFT, (0.1, 0, 0.5, 1)], [(LEFT, 0.9), (LEFT, 0.8)], 0.5),
    ],
)
def test_average_precision_by_hand(truth, found, expected):
    result = ap.evaluate_rows(rows(*[(box, 1.0) for box in truth]), rows(*found), ONE)
    assert result.mean == pytest.approx(expected)
    assert result.num_annotated.tolist() == [len(truth)]


def test_classes_without_annotations_and_left_out_ones_are_not_in_the_mean():
    names = ("stand", "sit", "walk", "fly (not evaluated)")
    truth = rows((LEFT, 1.0, 0, 0), (LEFT, 1.0, 2, 0), (LEFT, 1.0, 3, 0))
    found = rows((LEFT, 0.9, 0, 0), (LEFT, 0.9, 1, 0), (LEFT, 0.9, 3, 0))
    result = ap.evaluate_rows(truth, found, names)
    np.testing.assert_array_equal(result.precisions, [1, np.nan, 0, np.nan])
    assert result.mean == 0.5
    assert [row["average_precision"] for row in result.per_class()] == [1.0, None, 0.0]
    assert np.isnan(ap.evaluate_rows(rows(), rows(), ONE).mean)


def test_key_frames_are_apart_and_what_is_found_where_nobody_is_annotated_is_wrong():
    images = ("a_0902", "b_0902", "a_0903")
    truth = rows((LEFT, 1.0), (LEFT, 1.0, 0, 1), images=images[:2])
    found = rows((LEFT, 0.9, 0, 2), (LEFT, 0.8, 0, 1), (LEFT, 0.7), images=images)
    result = ap.evaluate_rows(truth, found, ONE)
    assert (result.mean, result.num_found.tolist()) == (pytest.approx(2 / 3), [3])
    result = ap.evaluate_rows(truth, found, ONE, ["a_0903"])
    assert (result.mean, result.num_found.tolist()) == (1.0, [2])


def test_the_fifty_highest_scores_of_a_key_frame_count():
    found = rows(*[(LESS, 0.5 + i / 1000) for i in range(50)], (LEFT, 0.4))
    assert ap.evaluate_rows(rows((LEFT, 1.0)), found, ONE).mean == 0
    fewer = rows(*[(LESS, 0.5 + i / 1000) for i in range(49)], (LEFT, 0.4))
    assert ap.evaluate_rows(rows((LEFT, 1.0)), fewer, ONE).mean == pytest.approx(1 / 50)


def ava(folder, **texts):
    """Files of the published form."""
    files = {
        "actions": 'item {\n  name: "bend/bow"\n  id: 1\n}\nitem {\n  name: "walk"\n  id: 14\n}\n',
        "truth": (
            "1j20qq1JyX4,0902,0.002,0.118,0.714,0.977,14,1\n"
            "1j20qq1JyX4,0902,0.002,0.118,0.714,0.977,13,1\n"
            "1j20qq1JyX4,0905,0.193,0.016,1.000,0.978,1,0\n"
            "1j20qq1JyX4,0906,0.193,0.016,1.000,0.978,1,0\n"
        ),
        "found": (
            "1j20qq1JyX4,902,0.01,0.12,0.71,0.98,14,0.9\n"
            "1j20qq1JyX4,902,0.01,0.12,0.71,0.98,1,0.8\n"
            "1j20qq1JyX4,0905,0.2,0.0,1.0,1.0,1,0.7\n"
            "1j20qq1JyX4,0907,0.2,0.0,1.0,1.0,14,0.1\n"
        ),
        "excluded": "1j20qq1JyX4,0906\n",
    } | texts
    for name, text in files.items():
        (folder / f"{name}_v2.2.csv").write_text(text)
    return [str(folder / f"{name}_v2.2.csv") for name in ("truth", "found", "actions", "excluded")]


def test_files_of_the_published_form(tmp_path, capsys):
    *files, excluded = ava(tmp_path)
    result = ap.run(*files, excluded)
    printed = capsys.readouterr().out
    assert "0 of 2" in printed
    assert "1 key frames without annotations" in printed
    assert [row["name"] for row in result.per_class()] == ["bend/bow", "walk"]
    np.testing.assert_allclose(result.precisions[[0, 13]], [0.5, 1])
    np.testing.assert_allclose(ap.run(*files).precisions[0], 0.25)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("truth", "a,0902,0,0,1,1,1,0.5\n", r"truth.*line 1.*person '0\.5'"),
        ("truth", "a,0902,0,0,1,1,81,1\n", "no action 81"),
        ("truth", "a,0902,0,0,320,240,1,1\n", "not lie in the frame"),
        ("found", "a,0902,0,0,1,1,1,12\n", "score 12 is not from 0 to 1"),
        ("found", "a,0902,0,0,1,1,,0.9\n", "without an action"),
        ("found", "a,0902,0,0,1,1,1,0.9\n", "none of the 2 key frames.*1j20qq1JyX4_0902.*a_0902"),
        ("found", "a,0902,0,0,1,1,1\n", "7 values"),
        ("actions", "bend\n", "pbtxt"),
    ],
)
def test_other_files_are_refused(tmp_path, name, text, message):
    with pytest.raises(ConfigError, match=message):
        ap.run(*ava(tmp_path, **{name: text}))


def test_files_of_another_version_are_refused(tmp_path):
    truth, found, actions, excluded = ava(tmp_path)
    (tmp_path / "ava_val_v2.1.csv").write_text(pathlib.Path(truth).read_text())
    with pytest.raises(ConfigError, match=r"ava_val_v2\.1\.csv.*different versions"):
        ap.run(str(tmp_path / "ava_val_v2.1.csv"), found, actions, excluded)


@pytest.mark.slow
def test_the_command_line(tmp_path):
    truth, found, actions, _ = ava(tmp_path)
    module = "mgm_jax.evaluation.average_precision"
    flags = (f"--truth={truth}", f"--found={found}", f"--actions={actions}")
    done = command_line.run(module, *flags)
    assert done.returncode == 0, done.stderr
    assert "frame mAP 62.50 %" in done.stdout
    wrong = command_line.run(module, *flags, "--found=none.csv")
    assert wrong.returncode == 1
    assert "error: --found: no csv file" in wrong.stderr
