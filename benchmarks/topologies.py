"""What the K400 pretraining step of several model sizes and batches needs on TPU slices.

    python -m benchmarks.topologies [--sizes=B,L] [--topologies=v5e:16x16] [--batches=512]

Compiles each step ahead of time (as `mgm_jax.compile`; minutes each, no TPU needed), appends the
numbers to --out as JSON lines, and prints a table. Steps already in --out are not compiled again.
A step that does not fit is tried again with remat and gradient accumulation.
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import app, flags

from benchmarks.timing import print_table
from configs import k400_pretrain
from mgm_jax.aot.check import check
from mgm_jax.errors import DoesNotFitError, MgmError
from mgm_jax.training.step_counts import count_steps

VIDEOS = 240_000
_DAY = 86_400

# Large models are sharded, and scanned to compile in a fraction of the time.
_LARGE = {"mesh.fsdp": 8, "model.scan": True, "model.remat": "full"}
_TO_FIT: tuple[dict[str, Any], ...] = (
    {},
    {"model.remat": "full"},
    *({"model.remat": "full", "grad_accum_steps": parts} for parts in (2, 4, 8, 16)),
)

Record = dict[str, Any]


def candidates(size: str) -> Iterator[dict[str, Any]]:
    """Config changes to try for a model size, in turn."""
    base = _LARGE if size in ("L", "H") else {}
    tried: list[dict[str, Any]] = []
    for changes in _TO_FIT:
        if base | changes not in tried:
            tried.append(base | changes)
            yield tried[-1]


def compile_step(size: str, topology: str, batch: int) -> Record:
    """The numbers of the first candidate that fits; `peak` is missing if none does."""
    record: Record = {"size": size, "topology": topology, "batch": batch}
    for changes in candidates(size):
        config = k400_pretrain.get_config()
        config.model.size, config.batch_size = size, batch
        config.update_from_flattened_dict(changes)
        try:
            found = check(config, topology)
        except DoesNotFitError as error:
            print(error, file=sys.stderr)
            continue
        steps = count_steps(config, VIDEOS).total_steps
        return record | {
            "changes": changes,
            "hosts": found.num_hosts,
            "peak": found.memory.peak,
            "limit": found.chip.memory,
            "compute": found.time.compute,
            "memory": found.time.memory,
            "network": found.time.network,
            "best": found.time.best,
            "estimate": found.time.estimate,
            "clips": found.clips,
            "days": steps * found.time.estimate / _DAY,
        }
    return record


def make_row(record: Record) -> tuple[str, ...]:
    """Cells of a record, as in the header of `main`."""
    label = f"ViT-{record['size']}, {record['batch']}, {record['topology']}"
    if "peak" not in record:
        return (label, "does not fit", *[""] * 8)
    rate = record["clips"] / record["estimate"]
    changes = (f"{name.split('.')[-1]}={value}" for name, value in record["changes"].items())
    times = ("compute", "memory", "network", "best", "estimate")
    return (
        label,
        ", ".join(changes),
        f"{record['peak'] / 2**30:.1f} ({record['peak'] / record['limit']:.0%})",
        *(f"{1e3 * record[name]:.1f}" for name in times),
        f"{rate:.0f} ({rate / record['hosts']:.0f})",
        f"{record['days']:.2f}",
    )


def main(_: Sequence[str]) -> None:
    """Compiles what is missing and prints the table."""
    jax.config.update("jax_platforms", "cpu")
    values = flags.FLAGS
    out = pathlib.Path(values.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = out.read_text().splitlines() if out.exists() else []
    done = {(r["size"], r["topology"], r["batch"]): r for r in map(json.loads, lines)}
    rows = []
    for batch in map(int, values.batches):
        for step in ((size, place, batch) for size in values.sizes for place in values.topologies):
            if step not in done:
                try:
                    done[step] = compile_step(*step)
                except MgmError as error:
                    sys.exit(f"error: {error}")
                with out.open("a") as file:
                    print(json.dumps(done[step]), file=file)
            rows.append(make_row(done[step]))
    times = (f"{name}, ms" for name in ("compute", "memory traffic", "network", "best", "estimate"))
    rates = ("clips/s (per host)", "days of 800 epochs")
    print_table(("model, batch, slice", "with", "memory, GiB", *times, *rates), rows)


if __name__ == "__main__":
    flags.DEFINE_list("sizes", ["S", "B", "L", "H"], "Sizes of the model.")
    flags.DEFINE_list("topologies", ["v5e:16x16", "v4:4x4x4", "v6e:8x8", "v5p:4x4x4"], "Slices.")
    flags.DEFINE_list("batches", ["512", "4096"], "Batch sizes.")
    flags.DEFINE_string("out", "runs/topologies.jsonl", "Numbers so far, as JSON lines.")
    app.run(main)
