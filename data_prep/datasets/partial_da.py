"""UCF14 → HMDB7 and HMDB14 → UCF7: partial domain adaptation (Table 3 of the paper).

Both are split 1 of UCF101 and HMDB51, restricted to shared classes: the split `train` holds 14
classes of the source domain, the split `test` seven of them from the target domain.
"""

from data_prep.datasets import hmdb51, ucf101
from data_prep.entries import DatasetOptions, Entry, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder

# (class of UCF101, class of HMDB51)
_CLASSES = (
    ("Archery", "shoot_bow"),
    ("Basketball", "shoot_ball"),
    ("Biking", "ride_bike"),
    ("Diving", "dive"),
    ("Fencing", "fencing"),
    ("GolfSwing", "golf"),
    ("HandstandWalking", "handstand"),
    ("HorseRiding", "ride_horse"),
    ("PullUps", "pullup"),
    ("Punch", "punch"),
    ("PushUps", "pushup"),
    ("RockClimbingIndoor", "climb"),
    ("SoccerPenalty", "kick_ball"),
    ("WalkingWithDog", "walk"),
)


def read(setting: str, videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists `ucf14_hmdb7` or `hmdb14_ucf7`; both datasets' files are below the same folders.

    Labels have the alphabetical order of the classes' names in the target domain, which holds the
    first seven. Classes are named as in the source; ids begin with `ucf101/` or `hmdb51/`.
    """
    files = AnnotationFiles(options.annotations, f"{ucf101.WHERE_FROM}, and {hmdb51.WHERE_FROM}")
    listed = {"ucf101": ucf101.list_videos(files, 1), "hmdb51": hmdb51.list_videos(files, 1)}
    source, target = listed if setting == "ucf14_hmdb7" else reversed(listed)
    classes = [dict(zip(listed, names, strict=True)) for names in _CLASSES]
    classes.sort(key=lambda names: names[target])
    finder = VideoFinder(videos)
    entries: list[Entry] = []
    for split, domain, shared in (("train", source, classes), ("test", target, classes[:7])):
        label_of = {names[domain]: label for label, names in enumerate(shared)}
        entries += [
            finder.entry(f"{domain}/{video}", split, label_of[name], folders=(name,), key=video)
            for its_split, video, name in listed[domain]
            if its_split == split and name in label_of
        ]
    return Listing(
        setting,
        tuple(names[source] for names in classes),
        tuple(entries),
        f"Partial domain adaptation {setting}: 14 classes of the source in `train`, 7 of them from "
        "the target in `test`.",
    )
