"""Data preparation: everything that runs once, before training.

Turns downloaded videos and annotation files into a tensorflow-datasets folder of encoded clips.
Imports `mgm_jax.data` (video decoding), `mgm_jax.errors`, `mgm_jax.io` and `mgm_jax.program`;
nothing in `mgm_jax` imports this package.

Commands:
    prepare       videos and annotations to a dataset
    verify        checks a dataset
    demo          renders the demo dataset

From annotations to records, in the order of the data:
    datasets/     one module per dataset: annotation files to a list of `Entry`
    files         finds video and annotation files below a folder
    entries       `Entry`, one record to make; `Problem`, what went wrong with it
    frames        decodes a whole video, or a time segment, and downscales its frames
    transcode     H.264 encoding profiles whose motion vectors have a known reference frame
    conversion    one video file to the bytes and fields of one record
    records       fields of a record, and the tensorflow-datasets files
    shards        one shard: planned, written and checked for completeness
    processes     writes shards in a pool of processes
    beam          writes shards in an Apache Beam pipeline
    output        builds a dataset: lock, resumption, completion, report

The demo dataset:
    demo_scenes   renders a clip: plain shapes in steady motion
"""
