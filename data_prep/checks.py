"""Decodes a record and compares it with its fields and its encoding profile."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from data_prep import transcode
from mgm_jax.data.decoding import DecodedClip, Video
from mgm_jax.data.video.containers import open_demuxer
from mgm_jax.data.video.decoder import decode_packets
from mgm_jax.data.video.packets import index_packets
from mgm_jax.errors import VideoError, reading_video

_FRAME_TYPES = {1: "I", 2: "P", 3: "B"}


@dataclasses.dataclass(frozen=True)
class CheckedRecord:
    """What decoding a record showed.

    Attributes:
        faults: Sentences; none if the record is correct.
        clip: All frames and their motion; None if they cannot be decoded.
    """

    video_id: str
    faults: tuple[str, ...]
    clip: DecodedClip | None


def check_record(record: Mapping[str, Any]) -> CheckedRecord:
    """Decodes and checks a record, as tfds reads it."""
    video_id = record["video_id"].decode()
    try:
        with reading_video(video_id):
            with Video(record["video"], video_id) as video:
                clip = video.read(range(video.num_frames))
                size = video.height, video.width
            types, unreferenced = _frame_types(record["video"], video_id)
            profile, of_profile = record["profile"].decode(), []
            if profile:
                of_profile = profile_faults(types, unreferenced, transcode.parse_profile(profile))
    except VideoError as error:
        return CheckedRecord(video_id, (str(error),), None)
    faults = [
        f"{name} is {found}, the record says {stated}"
        for name, found, stated in (
            ("num_frames", len(clip.luma), record["num_frames"]),
            ("height", size[0], record["height"]),
            ("width", size[1], record["width"]),
        )
        if found != stated
    ]
    return CheckedRecord(video_id, (*faults, *of_profile), clip)


def profile_faults(
    types: str, unreferenced: set[int], profile: transcode.EncodingProfile
) -> list[str]:
    """Says which frames do not match the profile, with at most one sentence of each kind.

    `types` has I, P or B for each frame; `unreferenced` are the indices of the frames that no other
    frame is predicted from.
    """
    faults = []
    for number, kind in enumerate(types):
        if number % profile.stride == 0 and kind not in "IP":
            faults.append(f"frame {number} is coded as {kind}, {profile.label} needs I or P")
            break
    for number, kind in enumerate(types):
        # The last group before an I-frame, and of the video, may be shorter; it ends in a P-frame.
        ends_group = types[number + 1 : number + 2] in ("I", "")
        if number % profile.stride and kind != "B" and not ends_group:
            faults.append(f"frame {number} is coded as {kind}, {profile.label} needs B")
            break
    referenced = [n for n, kind in enumerate(types) if kind == "B" and n not in unreferenced]
    if referenced:
        faults.append(f"frame {referenced[0]} is a B-frame that other frames are predicted from")
    return faults


def _frame_types(video: bytes, name: str) -> tuple[str, set[int]]:
    container, stream = open_demuxer(video, name)
    with container:
        stream.thread_type = "NONE"
        index = index_packets(container, stream, name)
        positions = range(len(index.packets))
        frames = decode_packets(index, stream.codec_context, positions, _refuse)
        types = "".join(_FRAME_TYPES.get(int(frame.pict_type), "?") for frame in frames)
        unreferenced = filter(index.is_unreferenced, positions if index.timed else ())
        return types, {n for n in map(index.numbers.__getitem__, unreferenced) if n is not None}


def _refuse(_: int, error: Exception) -> None:
    raise error
