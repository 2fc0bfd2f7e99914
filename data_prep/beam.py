"""The work of a preparation as an Apache Beam pipeline, for sets that outgrow one machine.

A shard is one element of the pipeline, and is made on some machine as it is made here, so the
records are the same, byte for byte, and a run that was killed goes on in the same way. All machines
see the videos and the output under the same paths (a shared or mounted file system), and have this
project installed.
"""

from collections.abc import Callable, Sequence

from absl import logging

from data_prep import shards
from data_prep.shards import Shard
from mgm_jax.errors import ConfigError


def make_on_beam(
    make: Callable[[Sequence[Shard]], None], planned: Sequence[Shard], options: Sequence[str]
) -> None:
    """Makes all shards that are not finished, by a pipeline; returns when it has ended.

    Args:
        make: Makes shards on one machine, such as `work.make_shards` with all but its first
            argument; it travels to the machines.
        planned: Shards of a dataset.
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
    one_each = [[shard] for shard in to_do]
    with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = (
            pipeline
            | apache_beam.Create(one_each)
            | apache_beam.Reshuffle()
            | apache_beam.Map(make)
        )
