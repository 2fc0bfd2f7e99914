"""AVA Actions 2.2: 80 actions of people in boxes, at one key frame per second of 430 films.

A record is a clip around one key frame (`conversion.SECONDS_BEFORE`, `SECONDS_AFTER`). The videos
are whole films, `YOUTUBEID.mkv`, `.mp4` or `.webm`; key frames lie in minutes 15 to 30.
"""

import csv
import pathlib
import re

from data_prep.entries import UNLABELLED, DatasetOptions, KeyFrame, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, read_text
from mgm_jax.errors import ConfigError

NUM_ACTIONS = 80


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists the key frames of the training and the validation split, without excluded ones.

    Annotation files: `ava_{train,val}_v2.2.csv`, `ava_action_list_v2.2.pbtxt` and, if present,
    `ava_{train,val}_excluded_timestamps_v2.2.csv`. An id is `YOUTUBEID_SECOND`; label i is the
    action that AVA numbers i + 1.
    """
    files = AnnotationFiles(options.annotations, "of AVA Actions 2.2: ava_train_v2.2.csv, ...")
    class_names = _action_names(
        # The list of the challenge names the 60 actions that are evaluated.
        files.get("ava_action_list_v2.2.pbtxt", "ava_action_list_v2.2*.pbtxt")
    )
    finder = VideoFinder(videos)
    entries = []
    for split, short in (("train", "train"), ("validation", "val")):
        excluded = set()
        excluded_file = files.find(f"ava_{short}_excluded_timestamps_v2.2.csv")
        if excluded_file:
            excluded = {(row[0], int(row[1])) for row in _rows(excluded_file)}
        key_frames = _key_frames(files.get(f"ava_{short}_v2.2.csv"))
        for (video, second), key_frame in key_frames.items():
            if (video, second) not in excluded:
                name = f"{video}_{second:04d}"
                entry = finder.entry(name, split, UNLABELLED, key=video, key_frame=key_frame)
                entries.append(entry)
    return Listing(
        "ava",
        class_names,
        tuple(entries),
        "AVA Actions 2.2: clips around key frames, people in boxes with their actions.",
    )


def _rows(path: pathlib.Path) -> list[list[str]]:
    return [row for row in csv.reader(read_text(path).splitlines()) if row]


def _action_names(path: pathlib.Path) -> tuple[str, ...]:
    found = re.findall(r'name:\s*"([^"]*)"\s*(?:label_)?id:\s*(\d+)', read_text(path))
    named = {int(number): name for name, number in found}
    if not named or not all(1 <= number <= NUM_ACTIONS for number in named):
        raise ConfigError(
            f"--annotations: {path} does not name actions numbered 1 to {NUM_ACTIONS}; get AVA's "
            "ava_action_list_v2.2.pbtxt"
        )
    return tuple(
        named.get(number, f"action {number} (not evaluated)")
        for number in range(1, NUM_ACTIONS + 1)
    )


def _key_frames(path: pathlib.Path) -> dict[tuple[str, int], KeyFrame]:
    """Key frames by (video, second), in the order in which they first occur.

    A line is one action of one person: video, second, x1, y1, x2, y2 (fractions of width and
    height), action, person. A person with several actions has several lines.
    """
    people: dict[tuple[str, int], dict[tuple[int, tuple[float, ...]], set[int]]] = {}
    for number, row in enumerate(_rows(path), 1):
        try:
            video, second, x1, y1, x2, y2, action, person = row
            box = tuple(float(edge) for edge in (x1, y1, x2, y2))
            key, who = (video, int(second)), (int(person), box)
            if not 1 <= int(action) <= NUM_ACTIONS:
                raise ValueError
        except ValueError as error:
            raise ConfigError(
                f"--annotations: {path}, line {number}: expected a video, a second, four edges of "
                f"a box, an action from 1 to {NUM_ACTIONS} and a person, found {','.join(row)}"
            ) from error
        people.setdefault(key, {}).setdefault(who, set()).add(int(action) - 1)
    return {
        key: KeyFrame(
            seconds=float(key[1]),
            boxes=tuple(box for _, box in found),
            actions=tuple(tuple(sorted(actions)) for actions in found.values()),
            person_ids=tuple(person for person, _ in found),
        )
        for key, found in people.items()
    }
