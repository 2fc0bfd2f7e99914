"""Which videos a run is trained on, and which it is evaluated on: never the same ones."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from mgm_jax.data.centre_clips import spread
from mgm_jax.data.class_names import splits_among
from mgm_jax.data.identity import shared_videos
from mgm_jax.data.manifest import Manifest, differences, make_manifest, shared_with
from mgm_jax.data.records import UNLABELLED, VideoSource
from mgm_jax.data.sources import has_splits, make_source, open_source
from mgm_jax.data.subsets import SubsetSource
from mgm_jax.errors import ConfigError, printable
from mgm_jax.evaluation.hold_out import hold_out
from mgm_jax.evaluation.key_frame_videos import with_detections

_PLACES = ("source", "path", "root")


def evenly_spaced(source: VideoSource, count: int) -> VideoSource:
    """At most `count` videos, evenly spaced over a source; all of them if `count` is 0."""
    if not count or count >= len(source):
        return source
    return SubsetSource(source, np.array(spread(count, len(source))))


@dataclasses.dataclass(frozen=True)
class Videos:
    """The videos of a run.

    Attributes:
        train: To train on.
        held_out: Training videos kept to choose among the heads of a linear probe, if there are
            several.
        evaluated: To measure the accuracy on; in pretraining the loss, or None.
        place: Where those are, for people.
    """

    train: VideoSource
    held_out: VideoSource | None = None
    evaluated: VideoSource | None = None
    place: str = ""

    @property
    def sources(self) -> dict[str, VideoSource | None]:
        """All of them, by their use."""
        return {"train": self.train, "held_out": self.held_out, "evaluated": self.evaluated}


def open_videos(config: ConfigDict) -> Videos:
    """Opens the videos that a run trains on and is evaluated on.

    `config.data` names those to train on; `config.eval` holds some of them out or names others, by
    default those of another split. Pretraining leaves out what finetuning would hold out, and
    needs no others.

    Raises:
        ConfigError: There are no such videos, a video to train on has no class, evaluated videos
            have other classes, or some of them are trained on.
    """
    source = open_source(config.data)
    evaluated: VideoSource
    if config.task == "pretrain":
        if config.eval.holdout:
            source, evaluated = hold_out(source, config.eval.holdout, config.seed)
        elif config.eval.split is None:
            return Videos(source)
        else:
            data = config.data
            evaluated = make_source(data.source, data.path, config.eval.split, data.root)
            _check_disjoint(config, evaluated, source)
        return Videos(source, evaluated=evenly_spaced(evaluated, config.eval.subset))
    if config.task == "detect":
        return _open_key_frames(config, source)
    _check_labels(config, source)
    if config.eval.holdout:
        given = [name for name in _PLACES if config.eval[name] is not None]
        if given:
            raise ConfigError(
                f"config.eval.holdout={config.eval.holdout} and config.eval.{given[0]} both say "
                "what to evaluate on; leave one out"
            )
        _check_no_split(config, source)
        source, evaluated = hold_out(source, config.eval.holdout, config.seed)
    else:
        evaluated = _open_others(config, source.class_names)
    if all(video.label == UNLABELLED for video in evaluated.facts()):
        raise ConfigError(
            f"config.eval: none of the {len(evaluated)} videos to evaluate on has a class; name "
            "others with --config.eval.split or --config.eval.path"
        )
    _check_disjoint(config, evaluated, source)
    place = _place(config, held_out=bool(config.eval.holdout))
    return Videos(*_split_for_heads(config, source), evaluated, place)


def reopen_videos(
    config: ConfigDict,
    saved: ConfigDict,
    class_names: tuple[str, ...],
    manifest: Manifest | None = None,
) -> Videos:
    """Opens the videos to evaluate a trained run on; see `open_videos`.

    Args:
        config: What the evaluation asks for.
        saved: The config that the run was trained with. What it held out is held out again, unless
            `config.eval` names other videos.
        class_names: Classes of the run.
        manifest: The videos that the run was trained on, if it says so.

    Raises:
        ConfigError: As `open_videos`, or the run held out videos, to evaluate on or to choose the
            head of a probe, and the data has changed since.
    """
    share = saved.eval.get("holdout", 0.0)
    if config.eval.holdout not in (0.0, share):
        raise ConfigError(
            f"config.eval.holdout={config.eval.holdout}: the run was trained with {share}; leave "
            "the flag out to evaluate on the same videos"
        )
    config = config.copy_and_resolve_references()
    config.seed = saved.seed
    if config.task == "linear_probe":
        config.probe.held_out = saved.probe.held_out
    source = open_source(config.data)
    same_split = config.eval.split == saved.eval.split
    again = share and same_split and all(config.eval[name] is None for name in _PLACES)
    evaluated: VideoSource
    if again:
        _check_classes(source, class_names, config.data.path)
    else:
        evaluated = _open_others(config, class_names)
    if again or (share and _has_several_heads(config)):
        source, held = hold_out(source, share, saved.seed)
        evaluated = held if again else evaluated
    if manifest and not config.eval.get("allow_overlap", False):
        _refuse_shared(evaluated, shared_with(manifest, evaluated.facts()))
    try:  # What is there now includes what a probe held out to choose its head.
        then = saved.data
        trained = make_source(then.source, then.path, then.split, then.root)
    except ConfigError as error:
        if not manifest:
            logging.warning("the evaluated videos are not compared with the training's: %s", error)
    else:
        if share:
            trained, _ = hold_out(trained, share, saved.seed)
        _check_disjoint(config, evaluated, trained)
    if config.task == "detect":
        found = with_detections(config, evaluated, "eval")
        return Videos(source, evaluated=found, place=_place(config, held_out=False))
    train, held_out = _split_for_heads(config, source)
    if held_out is not None:
        _check_classes(source, class_names, config.data.path)
    chosen = again or held_out is not None
    changes = differences(manifest, make_manifest(train)) if chosen and manifest else []
    if changes:
        raise ConfigError(
            f"config.data.path={config.data.path}: the videos are not those that the run held out "
            f"some of ({'; '.join(changes)}); restore them, or name others with --config.eval.path "
            "(to choose the head of a probe, the run's own are needed)"
        )
    return Videos(train, held_out, evaluated, _place(config, held_out=bool(again)))


def _place(config: ConfigDict, held_out: bool) -> str:
    data, own = config.data, config.eval
    if held_out:
        return printable(f"held out of {_named(data.source, data.path, data.split)}")
    source, path = (data[n] if own[n] is None else own[n] for n in ("source", "path"))
    return printable(_named(source, path, own.split))


def _named(kind: str, path: str, split: str) -> str:
    return f"{path}[{split}]" if has_splits(kind, path) or "[" in split else path


def _open_key_frames(config: ConfigDict, source: VideoSource) -> Videos:
    if config.eval.holdout:
        raise ConfigError(
            f"config.eval.holdout={config.eval.holdout}: key frames of one film are alike; "
            "evaluate on other films, with --config.eval.split or --config.eval.path"
        )
    evaluated = _open_others(config, tuple(source.class_names))
    _check_disjoint(config, evaluated, source)
    train = with_detections(config, source, "data")
    evaluated = with_detections(config, evaluated, "eval")
    return Videos(train, evaluated=evaluated, place=_place(config, held_out=False))


def _open_others(config: ConfigDict, class_names: tuple[str, ...]) -> VideoSource:
    """The videos that `config.eval` names; by default, another split of the training data."""
    chosen = {
        name: config.data[name] if config.eval[name] is None else config.eval[name]
        for name in _PLACES
    }
    kind, path, split = chosen["source"], chosen["path"], config.eval.split
    source = make_source(kind, path, split, chosen["root"], flags="config.eval")
    if split not in ("train", "validation", "test") and not has_splits(kind, path):
        raise ConfigError(
            f"config.eval.split={split}: {path} has no splits; leave it out, and name other videos "
            "with --config.eval.path"
        )
    names = tuple(source.class_names)
    if names == tuple(map(str, range(len(names)))) == class_names[: len(names)]:
        # Classes that are numbers alone: a list may lack the last ones.
        source.class_names = class_names
    _check_classes(source, class_names, path)
    return source


def _check_classes(source: VideoSource, class_names: tuple[str, ...], path: str) -> None:
    if tuple(source.class_names) == class_names:
        return
    unknown = sorted(set(source.class_names) - set(class_names))
    missing = sorted(set(class_names) - set(source.class_names))
    raise ConfigError(
        f"config.eval: the videos to evaluate on ({path}) have other classes than "
        f"the model: {len(source.class_names)} against {len(class_names)}; unknown to the "
        f"model: {', '.join(unknown[:5]) or 'none'}; without videos: "
        f"{', '.join(missing[:5]) or 'none'}; or their order differs. List both with the "
        "same label and label_id in a csv file, or prepare them as one dataset"
    )


def _check_labels(config: ConfigDict, source: VideoSource) -> None:
    facts = source.facts()
    without = [video.name for video in facts if video.label == UNLABELLED]
    if without:
        raise ConfigError(
            f"config.data: {len(without)} of the {len(facts)} videos have no class, the first is "
            f"{without[0]}; put them into class folders, name their class in the column label, or "
            "leave them out: a classifier cannot learn from them"
        )
    if config.data.source == "folder" and splits_among(source.class_names).keys() == set(
        source.class_names
    ):
        raise ConfigError(
            f"config.data.path={config.data.path}: its folders {', '.join(source.class_names)} "
            "are splits, not classes; name them with --config.data.path and --config.eval.path"
        )


def _check_disjoint(config: ConfigDict, evaluated: VideoSource, trained: VideoSource) -> None:
    if not config.eval.get("allow_overlap", False):
        pairs = shared_videos(evaluated.facts(), trained.facts())
        _refuse_shared(evaluated, [(one.name, other.name) for one, other in pairs])


def _refuse_shared(evaluated: VideoSource, pairs: Sequence[tuple[str, str]]) -> None:
    if pairs:
        one, other = pairs[0]
        raise ConfigError(
            f"config.eval: {len(pairs)} of the {len(evaluated)} videos to evaluate on are trained "
            f"on, the first is {one} (in training {other}). Hold some out of training "
            "with --config.eval.holdout=0.2, or name others with --config.eval.path or "
            "--config.eval.split (in a csv, the column split); to measure how well the training "
            "videos themselves are fitted, add --config.eval.allow_overlap"
        )


def _split_for_heads(
    config: ConfigDict, source: VideoSource
) -> tuple[VideoSource, VideoSource | None]:
    """Holds out training videos to choose among the heads of a linear probe."""
    if not _has_several_heads(config):
        return source, None
    return hold_out(source, config.probe.held_out, config.seed, "config.probe.held_out")


def _has_several_heads(config: ConfigDict) -> bool:
    return config.task == "linear_probe" and len(config.probe.learning_rate_factors) > 1


def _check_no_split(config: ConfigDict, source: VideoSource) -> None:
    """Refuses to hold videos out if the data has the split that `config.eval` names as well."""
    data, split = config.data, config.eval.split
    try:
        other = make_source(data.source, data.path, split, data.root)
    except ConfigError:
        return
    names = [{video.name for video in part.facts()} for part in (source, other)]
    if names[0] != names[1]:
        raise ConfigError(
            f"config.eval.holdout={config.eval.holdout} and the split {split!r} of the data both "
            "say what to evaluate on; give --config.eval.holdout=0 for the split, or "
            f"--config.eval.split={data.split} to hold videos out"
        )
