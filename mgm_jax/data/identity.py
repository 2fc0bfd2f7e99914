"""What is known of a video without decoding it, and whether two are the same."""

import dataclasses
import hashlib
import io
import os
import pathlib
import re
from collections.abc import Sequence

_PART_BYTES = 65536
_UNREADABLE = "unreadable"

# Clips of one recording: UCF101 and UCF50, Kinetics and Diving48 (of a YouTube id), HMDB51 and
# J-HMDB.
_GROUPED = re.compile(
    r"(.+_g\d+)(?:_.*)?|([\w-]{11})_(?:\d{6}_\d{6}|\d{5})|(.+)_[a-z]_(?:cm|nm)_np\d+_.*"
)


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """What a source knows of a video without reading it.

    Attributes:
        name: Its `VideoRecord.video_id`.
        label: Number of the class, or `UNLABELLED`.
        group: What must not be divided between training and evaluation, such as a recording.
        path: Path of the file; empty for a record.
        fingerprint: Of the file that a record was made of; empty for a file.
    """

    name: str
    label: int
    group: str
    path: str = ""
    fingerprint: str = ""

    def content(self, read: bool = True) -> str:
        """Its fingerprint; the size alone of a file that is not to be read."""
        try:
            if read:
                return self.fingerprint or fingerprint(self.path)
            return self.fingerprint or str(os.path.getsize(self.path))
        except OSError:
            return _UNREADABLE


def group_of(name: str) -> str:
    """The recording that a video was cut from, by its name; the name itself if it does not say."""
    match = _GROUPED.fullmatch(pathlib.PurePath(name).stem)
    return next(filter(None, match.groups())) if match else name


def fingerprint(video: str | os.PathLike | bytes) -> str:
    """`SIZE-DIGEST` of a file or its bytes; the digest is that of two parts of it.

    Raises:
        OSError: The file cannot be read.
    """
    with io.BytesIO(video) if isinstance(video, bytes) else open(video, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.blake2b(digest_size=12)
        for start in (size // 2, max(size - _PART_BYTES, 0)):
            file.seek(start)
            digest.update(file.read(_PART_BYTES))
    return f"{size}-{digest.hexdigest()}"


def shared_videos(
    evaluated: Sequence[VideoFacts], trained: Sequence[VideoFacts]
) -> list[tuple[VideoFacts, VideoFacts]]:
    """Pairs of an evaluated and a trained video that are the same file, or copies of one.

    Links and spelling of paths make no difference. A file is read only if another has its size.
    """
    one, other = ([(f, *_size_and_place(f)) for f in part] for part in (evaluated, trained))
    by_place = {place: facts for facts, _, place in other if place}
    linked = [(facts, by_place[place]) for facts, _, place in one if place in by_place]
    if linked:
        return linked
    sizes = {size for _, size, _ in one} & {size for _, size, _ in other} - {0}
    by_content = {facts.content(): facts for facts, size, _ in other if size in sizes}
    by_content.pop(_UNREADABLE, None)
    contents = [(facts, facts.content()) for facts, size, _ in one if size in sizes]
    return [(facts, by_content[content]) for facts, content in contents if content in by_content]


def _size_and_place(facts: VideoFacts) -> tuple[int, tuple[int, int] | None]:
    if facts.fingerprint:
        return int(facts.fingerprint.partition("-")[0]), None
    try:
        found = os.stat(facts.path)
    except OSError:  # Reading it will say why.
        return 0, None
    return found.st_size, (found.st_dev, found.st_ino)
