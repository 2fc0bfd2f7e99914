"""Shards written by an Apache Beam pipeline, for datasets that are too large for one machine.

Each shard is one element of the pipeline and is written as on one machine, so the records are the
same, byte for byte. All machines need this project, and `--videos` and `--out` under the same paths
(a shared or mounted file system).
"""

import functools
from collections.abc import Sequence

from absl import logging

from data_prep.shards import Shard, read_result, write_shard
from mgm_jax.errors import ConfigError


def write_shards_on_beam(shards: Sequence[Shard], isolate: bool, options: Sequence[str]) -> None:
    """Writes all shards that are absent; returns when the pipeline has finished.

    `options` are those of the pipeline, such as "--runner=DirectRunner"; `isolate` is explained in
    `shards.write_shard`.

    Raises:
        ConfigError: Apache Beam is not installed.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ConfigError(
            "--beam_runner needs Apache Beam; install requirements-beam.txt in an environment of "
            "its own, because Beam requires older versions of what training uses"
        ) from error
    absent = [shard for shard in shards if read_result(shard) is None]
    logging.info("%d shards, %d to write in the pipeline", len(shards), len(absent))
    with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = (
            pipeline
            | apache_beam.Create(absent)
            | apache_beam.Reshuffle()
            | apache_beam.Map(functools.partial(write_shard, isolate=isolate))
        )
