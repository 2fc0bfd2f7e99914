import encoded
import pytest

from data_prep.checks import check_record, profile_faults
from data_prep.transcode import parse_profile


def record(video, profile, **changes):
    height, width = encoded.HEIGHT, encoded.WIDTH
    facts = {"num_frames": 20, "height": height, "width": width, "profile": profile.encode()}
    return {"video": video, "video_id": b"x", **facts, **changes}


def test_wrong_profiles_and_damage_are_found(low_delay_video, one_video):
    (fault,) = check_record(record(low_delay_video, "stride_aligned:4")).faults
    assert fault == "frame 1 is coded as P, stride_aligned:4 needs B"
    assert "low_delay needs I or P" in check_record(record(one_video, "low_delay")).faults[0]
    assert check_record(record(one_video, "")).faults == ()  # as published
    damaged = check_record(record(low_delay_video[:1000], "low_delay"))
    assert damaged.clip is None
    assert "x: " in damaged.faults[0]


@pytest.mark.parametrize(
    ("types", "unreferenced", "label", "fault"),
    [
        ("IPPIP", set(), "low_delay", None),
        ("IBPBPBIBP", {1, 3, 5, 7}, "stride_aligned:2", None),
        ("IBPPIBPP", {1, 5}, "stride_aligned:2", None),  # short groups end in P
        ("IBPPPBP", {1, 5}, "stride_aligned:2", "frame 3 is coded as P"),
        ("IBBBB", {1, 2, 3, 4}, "stride_aligned:2", "frame 2 is coded as B"),
        ("IBPBP", {1}, "stride_aligned:2", "frame 3 is a B-frame"),
    ],
)
def test_profiles(types, unreferenced, label, fault):
    faults = profile_faults(types, unreferenced, parse_profile(label))
    assert [fault in found for found in faults] == ([True] if fault else [])
