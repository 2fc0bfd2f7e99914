"""The table of what ViT-S, B, L and H need on TPU slices: compiles each and writes the page.

    python -m benchmarks.topologies [--sizes=B,L] [--topologies=v5e:16x16] [--batches=512]

Every result is kept in a file of JSON lines as soon as it is there, so a run that was killed goes
on where it was, and compiles only what is missing. --compile=False writes the page from that file
alone.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks.timing import markdown_table
from configs import k400_pretrain
from mgm_jax.aot.check import PodCheck, check
from mgm_jax.aot.collectives import summarise
from mgm_jax.compile import TRAINING_SETS
from mgm_jax.errors import DoesNotFitError, MgmError
from mgm_jax.training.step_counts import count_steps

SIZES = ("B", "L", "S", "H")
TOPOLOGIES = ("v5e:16x16", "v4:4x4x4", "v6e:8x8", "v5p:4x4x4")
BATCHES = (512, 4096)
MISSING = "not compiled yet"

# Large models are sharded, and compiled with scanned blocks, which takes a fraction of the time; a
# scan keeps much for the backward pass, so it comes with remat.
_LARGE: dict[str, Any] = {"mesh.fsdp": 8, "model.scan": True, "model.remat": "full"}
BASE = {"L": _LARGE, "H": _LARGE}

# Tried in turn until one fits; a slice that refuses one at a small batch is not asked again at a
# larger one.
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"model.remat": "full"},
    *({"model.remat": "full", "grad_accum_steps": parts} for parts in (2, 4, 8, 16)),
)

Record = dict[str, Any]

HOW_TO_READ = """\
*How to read it.* Every row is the train step of `configs/k400_pretrain.py` (MGM pretraining, 16
frames of 224x224, bfloat16), compiled for the slice by `mgm_jax.compile` on a machine without a
TPU, with the settings that "with" names. Nothing here has run on a TPU. "Does not fit" lists the
settings that were tried before and refused, with the memory that they would need.

- *Memory* is that of one chip at its peak, GiB, as the compiler plans it, with the batches that
  wait for their step, and its share of what a program can have there. Scanned blocks (`scan`)
  keep more for the backward pass than unrolled ones, but large models compile sooner.
- *Compute, memory traffic, network* are milliseconds of a step at the chip's published peaks
  (`mgm_jax/aot/chips.py`). FLOPs are counted from the traced step: matrix products only, loops as
  often as they run, and what remat computes again. Memory traffic and network are counted in the
  compiled program.
- *At best* all three overlap: the longest counts. *Estimate* is their sum. Matrices that fill the
  units badly, and input that comes late, are in neither, so a real step is slower than "at best"
  and may be slower than the estimate.
- *Clips/s, days* follow from the estimate: {epochs} epochs of {videos} videos. *Per host* is what
  the input pipeline of each host (four chips) must deliver for it."""


def entries(
    sizes: Sequence[str], topologies: Sequence[str], batches: Sequence[int]
) -> Iterator[tuple[str, str, int]]:
    """All (size, topology, batch) of the table, in the order of compiling."""
    for batch in batches:
        for size in sizes:
            for topology in topologies:
                yield size, topology, batch


def make_config(size: str, batch: int, changes: dict[str, Any]) -> ConfigDict:
    """The recipe of a row."""
    config = k400_pretrain.get_config()
    config.model.size = size
    config.batch_size = batch
    config.update_from_flattened_dict(changes)
    return config


def as_record(found: PodCheck, days: float) -> Record:
    """The numbers of a row."""
    step = found.time
    return {
        "hosts": found.num_hosts,
        "chips": found.mesh.size,
        "parameters": found.num_parameters,
        "checkpoint_bytes": found.state_bytes,
        "memory": dataclasses.asdict(found.memory),
        "peak": found.memory.peak,
        "limit": found.chip.memory,
        "flops": found.flops,
        "chip_flops": found.chip_flops,
        "memory_bytes": found.memory_bytes,
        "network": [
            {"kind": kind, "axes": axes, "times": times, "bytes": num_bytes, "sent": sent}
            for kind, axes, times, num_bytes, sent in summarise(found.collectives)
        ],
        "unknown_loops": len(found.unknown_loops),
        "seconds": dataclasses.asdict(step),
        "best": step.best,
        "estimate": step.estimate,
        "clips": found.clips,
        "batch_bytes": found.batch_bytes,
        "days": days,
        "compile_seconds": found.compile_seconds,
    }


def read_records(cache: pathlib.Path) -> list[Record]:
    """What was found so far; a last line that a killed run left half written is dropped."""
    if not cache.exists():
        return []
    lines = cache.read_text().split("\n")
    if lines[-1]:
        cache.write_text("".join(f"{line}\n" for line in lines[:-1]))
    return [json.loads(line) for line in lines[:-1]]


def compile_missing(wanted: Iterable[tuple[str, str, int]], cache: pathlib.Path) -> None:
    """Compiles what is not in the cache, and adds it there."""
    for size, topology, batch in wanted:
        base = BASE.get(size, {})
        tried: list[dict[str, Any]] = []
        for changes in (base | change for change in CHANGES):
            if changes in tried:
                continue
            tried.append(changes)
            records = read_records(cache)
            done = [r for r in records if (r["size"], r["topology"]) == (size, topology)]
            if any(r["batch"] == batch and "peak" in r for r in done):
                break
            if any(
                r["changes"] == changes and "refused" in r and r["batch"] <= batch for r in done
            ):
                continue
            print(f"{size} {batch} {topology} {changes}", file=sys.stderr, flush=True)
            record: Record = {
                "size": size,
                "topology": topology,
                "batch": batch,
                "changes": changes,
            }
            config = make_config(size, batch, changes)
            try:
                found = check(config, topology)
            except DoesNotFitError as error:
                record["refused"] = str(error)
            else:
                plan = count_steps(config, TRAINING_SETS["k400"].videos)
                record |= as_record(found, plan.total_steps * found.time.estimate / 86400)
            with cache.open("a") as file:
                file.write(json.dumps(record) + "\n")


def make_page(wanted: Iterable[tuple[str, str, int]], records: Sequence[Record]) -> str:
    """The page.

    Args:
        wanted: Rows of the table.
        records: Of the cache.

    Returns:
        Markdown.
    """
    header = (
        "model, batch, slice",
        "with",
        "does not fit",
        "memory, GiB",
        "compute, ms",
        "memory traffic, ms",
        "network, ms",
        "at best, ms",
        "estimate, ms",
        "clips/s",
        "per host",
        "days",
    )
    rows = [_row(header, *entry, records) for entry in wanted]
    config = k400_pretrain.get_config()
    how = HOW_TO_READ.format(epochs=int(config.epochs), videos=TRAINING_SETS["k400"].videos)
    parts = [
        "# What a step needs on TPU slices",
        "    python -m benchmarks.topologies",
        how,
        markdown_table(header, rows),
        "## What the chips send to each other in a step",
        _network_table(records),
    ]
    return "\n\n".join(parts) + "\n"


def _row(
    header: Sequence[str], size: str, topology: str, batch: int, records: Sequence[Record]
) -> tuple[str, ...]:
    name = f"ViT-{size}, {batch}, {topology}"
    mine = [r for r in records if (r["size"], r["topology"]) == (size, topology)]
    found = next((r for r in mine if r["batch"] == batch and "peak" in r), None)
    refused = [r for r in mine if r["batch"] <= batch and "refused" in r]
    tried = "; ".join(f"{_settings(r['changes'])}: {_amount(r)}" for r in refused)
    if found is None:
        return (name, MISSING, tried, *[""] * (len(header) - 3))
    seconds = found["seconds"]
    return (
        name,
        _settings(found["changes"]),
        tried,
        f"{found['peak'] / 2**30:.1f} ({found['peak'] / found['limit']:.0%})",
        *(f"{1e3 * seconds[part]:.1f}" for part in ("compute", "memory", "network")),
        f"{1e3 * found['best']:.1f}",
        f"{1e3 * found['estimate']:.1f}",
        f"{found['clips'] / found['estimate']:.0f}",
        f"{found['clips'] / found['estimate'] / found['hosts']:.0f}",
        f"{found['days']:.2f}",
    )


def _settings(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name.split('.')[-1]}={value}" for name, value in changes.items()) or "-"


def _amount(record: Record) -> str:
    words = record["refused"].split(" needs ")[1].split(" of the ")[0]
    return f"{words} at {record['batch']}"


def _network_table(records: Sequence[Record]) -> str:
    rows = [
        (
            f"ViT-{r['size']}, {r['batch']}, {r['topology']}",
            f"{part['kind']} along {' and '.join(part['axes'])}",
            str(part["times"]),
            f"{part['bytes'] / 1e6:.1f}",
            f"{part['sent'] / 1e6:.1f}",
        )
        for r in records
        if "peak" in r
        for part in r["network"]
    ]
    header = ("model, batch, slice", "operation", "runs", "MB", "MB a chip sends")
    return markdown_table(header, rows)


def main(argv: Sequence[str]) -> None:
    """Compiles what is missing and writes the page."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    jax.config.update("jax_platforms", "cpu")
    values = flags.FLAGS
    wanted = list(
        entries(values.sizes, values.topologies, [int(batch) for batch in values.batches])
    )
    whole = list(entries(SIZES, TOPOLOGIES, BATCHES))
    cache, page = pathlib.Path(values.cache), pathlib.Path(values.page)
    try:
        for entry in wanted if values.compile else []:
            compile_missing([entry], cache)
            page.write_text(make_page(whole, read_records(cache)))
    except MgmError as error:
        sys.exit(f"error: {error}")
    page.write_text(make_page(whole, read_records(cache)))


if __name__ == "__main__":
    flags.DEFINE_list("sizes", list(SIZES), "Sizes to compile.")
    flags.DEFINE_list("topologies", list(TOPOLOGIES), "Slices to compile for.")
    flags.DEFINE_list("batches", [str(batch) for batch in BATCHES], "Batches to compile.")
    flags.DEFINE_string("cache", "docs/topologies.jsonl", "Results so far.")
    flags.DEFINE_string("page", "docs/topologies.md", "Where to write the page.")
    flags.DEFINE_bool("compile", True, "Whether to compile what is missing.")
    app.run(main)
