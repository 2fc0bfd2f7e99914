"""AVA Actions 2.2: 80 actions of people in boxes, at one key frame per second of 430 films.

A record is a clip around one key frame (`conversion.SECONDS_BEFORE`, `SECONDS_AFTER`). The videos
are whole films, `YOUTUBEID.mkv`, `.mp4` or `.webm`; key frames lie in minutes 15 to 30.
"""

from data_prep.entries import UNLABELLED, DatasetOptions, KeyFrame, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder
from mgm_jax.data.ava_files import BoxRows, read_actions, read_rows
from mgm_jax.data.key_frames import NOT_EVALUATED

_FLAG = "--annotations"

_EVALUATED = "ava_action_list_v2.2_for_activitynet_2019.pbtxt"

NUM_ACTIONS = 80


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists the key frames of the training and the validation split, without excluded ones.

    Annotation files: `ava_{train,val}_v2.2.csv`, the list of the 60 actions that are evaluated,
    `ava_action_list_v2.2_for_activitynet_2019.pbtxt`, and, if present, that of all 80,
    `ava_action_list_v2.2.pbtxt`, and `ava_{train,val}_excluded_timestamps_v2.2.csv`. An id is
    `YOUTUBEID_SECOND`; label i is the action that AVA numbers i + 1.
    """
    files = AnnotationFiles(options.annotations, "of AVA Actions 2.2: ava_train_v2.2.csv, ...")
    evaluated = read_actions(files.get(_EVALUATED), _FLAG, NUM_ACTIONS)
    everything = files.find("ava_action_list_v2.2.pbtxt")
    named = read_actions(everything, _FLAG, NUM_ACTIONS) if everything else {}
    class_names = tuple(
        evaluated.get(n) or named.get(n, f"action {n}") + NOT_EVALUATED
        for n in range(1, NUM_ACTIONS + 1)
    )
    finder = VideoFinder(videos)
    entries = []
    for split, short in (("train", "train"), ("validation", "val")):
        excluded: set[str] = set()
        excluded_file = files.find(f"ava_{short}_excluded_timestamps_v2.2.csv")
        if excluded_file:
            excluded.update(read_rows(excluded_file, _FLAG, "annotations").images)
        annotated = files.get(f"ava_{short}_v2.2.csv")
        rows = read_rows(annotated, _FLAG, "annotations", NUM_ACTIONS)
        for name, key_frame in _key_frames(rows).items():
            if name not in excluded:
                video = name.rpartition("_")[0]
                entry = finder.entry(name, split, UNLABELLED, key=video, key_frame=key_frame)
                entries.append(entry)
    return Listing(
        "ava",
        class_names,
        tuple(entries),
        "AVA Actions 2.2: clips around key frames, people in boxes with their actions.",
    )


def _key_frames(rows: BoxRows) -> dict[str, KeyFrame]:
    """Key frames by their names; a person with several actions has several rows."""
    people: list[dict[tuple[int, tuple[float, ...]], set[int]]] = [{} for _ in rows.images]
    columns = (rows.image, rows.people, rows.boxes, rows.actions)
    for image, person, box, action in zip(*(c.tolist() for c in columns), strict=True):
        people[image].setdefault((person, tuple(box)), set()).add(action)
    return {
        name: KeyFrame(
            seconds=float(name.rpartition("_")[2]),
            boxes=tuple(box for _, box in found),
            actions=tuple(tuple(sorted(actions)) for actions in found.values()),
            person_ids=tuple(person for person, _ in found),
        )
        for name, found in zip(rows.images, people, strict=True)
        if found
    }
