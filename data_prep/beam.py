"""Shards written by an Apache Beam pipeline, whose machines have the same folders mounted."""

from collections.abc import Sequence

from data_prep.shards import Shard, absent_shards, write_shard
from mgm_jax.errors import ConfigError


def write_shards_on_beam(shards: Sequence[Shard], options: Sequence[str]) -> None:
    """Writes all shards that are absent, byte for byte as `shards.write_shards` does.

    Each shard is one element of the pipeline, whose `options` are such as "--runner=DirectRunner".

    Raises:
        ConfigError: Apache Beam is not installed.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ConfigError(
            "--beam_option needs Apache Beam; install requirements-beam.txt in an environment of "
            "its own, because Beam requires older versions of what training uses"
        ) from error
    with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        elements = pipeline | apache_beam.Create(absent_shards(shards)) | apache_beam.Reshuffle()
        _ = elements | apache_beam.Map(write_shard, isolate=True)
