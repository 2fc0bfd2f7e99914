"""UCF14 → HMDB7 and HMDB14 → UCF7: partial domain adaptation (Table 3 of the paper).

Both are split 1 of UCF101 and HMDB51, restricted to shared classes: the split `train` holds 14
classes of the source domain, the split `test` seven of them from the target domain.
"""

from data_prep.datasets import hmdb51, ucf101
from data_prep.entries import DatasetOptions, Entry, Listing
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
"""(class of UCF101, class of HMDB51, whether `test` has it); the position is the label."""


def read(setting: str, videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists a setting, a key of `CLASSES`; both datasets' files are below the same folders.

    Classes are named as in the source; ids begin with `ucf101/` or `hmdb51/`.

    Raises:
        ConfigError: An annotation file is missing.
    """
    files = AnnotationFiles(options.annotations, f"{ucf101.WHERE_FROM}, and {hmdb51.WHERE_FROM}")
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
