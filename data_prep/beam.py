"""The work of a preparation as an Apache Beam pipeline, for sets that outgrow one machine.

A shard is one element of the pipeline, and is made on some machine as it is made here, so the
records are the same, byte for byte, and a run that was killed goes on in the same way. All machines
see the videos and the output under the same paths (a shared or mounted file system), and have this
project installed.
"""

import functools
from collections.abc import Sequence
from typing import Any

from absl import logging

from data_prep import shards
from data_prep.conversion import Settings
from data_prep.shards import Shard
from data_prep.work import make_shards
from mgm_jax.errors import ConfigError


def make_shards_on_beam(
    planned: Sequence[Shard],
    class_names: Sequence[str],
    key_frames: bool,
    *,
    folder: str,
    settings: Settings,
    workers: int,
    options: Sequence[str],
) -> None:
    """Converts and writes all that is not finished, by a pipeline; returns when it has ended.

    Args:
        planned: Shards of a dataset.
        class_names: In the order of their labels.
        key_frames: Whether records are clips around key frames.
        folder: Of the videos.
        settings: Of the conversion.
        workers: Processes that convert the clips of one shard; 0 does it in Beam's own.
        options: Of the pipeline, such as "--runner=DirectRunner".

    Raises:
        ConfigError: Apache Beam is not installed.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ConfigError(
            "--beam_runner needs Apache Beam; install requirements-beam.txt in an environment of "
            "its own, for it wants older versions of what training uses"
        ) from error
    to_do = [shard for shard in planned if shards.read_finished(shard) is None]
    logging.info("%d shards, of which %d are for the pipeline", len(planned), len(to_do))
    make = functools.partial(
        _make_shard,
        class_names=tuple(class_names),
        key_frames=key_frames,
        folder=folder,
        settings=settings,
        workers=workers,
    )
    with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = pipeline | apache_beam.Create(to_do) | apache_beam.Reshuffle() | apache_beam.Map(make)


def _make_shard(shard: Shard, **how: Any) -> None:
    make_shards([shard], **how)
