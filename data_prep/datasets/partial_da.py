"""UCF14 → HMDB7 and HMDB14 → UCF7: domain adaptation to a part of the classes (Table 3).

Both are split 1 of UCF101 and HMDB51, restricted to classes that the two share: the split `train`
holds 14 classes of the source, the split `test` seven of them from the target.
"""

import os

from data_prep.datasets import hmdb51, ucf101
from data_prep.entries import Entry, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, stem

CLASSES: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "ucf14_hmdb7": (
        ("RockClimbingIndoor", "climb", True),
        ("Diving", "dive", True),
        ("Fencing", "fencing", True),
        ("GolfSwing", "golf", True),
        ("HandstandWalking", "handstand", True),
        ("SoccerPenalty", "kick_ball", True),
        ("PullUps", "pullup", True),
        ("Punch", "punch", False),
        ("PushUps", "pushup", False),
        ("Biking", "ride_bike", False),
        ("HorseRiding", "ride_horse", False),
        ("Basketball", "shoot_ball", False),
        ("Archery", "shoot_bow", False),
        ("WalkingWithDog", "walk", False),
    ),
    "hmdb14_ucf7": (
        ("Archery", "shoot_bow", True),
        ("Basketball", "shoot_ball", True),
        ("Biking", "ride_bike", True),
        ("Diving", "dive", True),
        ("Fencing", "fencing", True),
        ("GolfSwing", "golf", True),
        ("HandstandWalking", "handstand", True),
        ("HorseRiding", "ride_horse", False),
        ("PullUps", "pullup", False),
        ("Punch", "punch", False),
        ("PushUps", "pushup", False),
        ("RockClimbingIndoor", "climb", False),
        ("SoccerPenalty", "kick_ball", False),
        ("WalkingWithDog", "walk", False),
    ),
}
"""(class of UCF101, class of HMDB51, whether it is in the target); the position is the label."""


def read(videos: VideoFiles, annotations: str | os.PathLike | None, setting: str) -> Listing:
    """Lists the source's training videos and the target's test videos.

    Args:
        videos: The videos of UCF101 and HMDB51, below one folder.
        annotations: Folder with the annotation files of both.
        setting: A key of `CLASSES`.

    Returns:
        The listing; classes have the names of the source. Ids begin with `ucf101/` or `hmdb51/`.

    Raises:
        ConfigError: An annotation file is missing.
    """
    files = AnnotationFiles(annotations, f"{ucf101.WHERE_FROM}, and {hmdb51.WHERE_FROM}")
    from_ucf = setting == "ucf14_hmdb7"
    finder = VideoFinder(videos)
    videos_of = {
        "ucf101": [
            (split, path.split("/")[0], stem(path)) for split, path in ucf101.list_videos(files, 1)
        ],
        "hmdb51": [
            (split, class_name, stem(name))
            for split, class_name, name in hmdb51.list_videos(files, 1)
        ],
    }
    entries = []
    for split, is_source in (("train", True), ("test", False)):
        origin = "ucf101" if is_source == from_ucf else "hmdb51"
        label_of = {
            row[0 if origin == "ucf101" else 1]: label
            for label, row in enumerate(CLASSES[setting])
            if is_source or row[2]
        }
        for its_split, class_name, name in videos_of[origin]:
            if its_split == split and class_name in label_of:
                file, others = finder.find(name, (class_name,))
                label = label_of[class_name]
                entries.append(Entry(f"{origin}/{name}", split, label, file, other_files=others))
    return Listing(
        setting,
        tuple(row[0 if from_ucf else 1] for row in CLASSES[setting]),
        tuple(entries),
        f"Partial domain adaptation {setting}: 14 classes of the source in `train`, 7 of them from "
        "the target in `test`.",
    )
