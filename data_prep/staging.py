"""The directory in which a dataset is made; a killed run goes on in it.

Beside the dataset's directory OUT lies, until it is complete,

    .OUT.incomplete/
        request.json       what was asked for; another request is refused
        lock               held by the run at work
        clips/             conversions of shards that are not complete
        finished/          one file per finished shard
        dataset/           the finished shards; becomes OUT

Every file appears under its name by a rename, when it is whole, and so does OUT.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep import records, shards
from data_prep.entries import Listing
from mgm_jax.errors import ConfigError

REPORT = "report.json"


class Staging:
    """A dataset in the making; a context manager that holds its lock.

    Args:
        out: Directory of the dataset, absent or empty.
        request: What is asked for, in terms that JSON can hold.

    Attributes:
        out: The same, absolute.
        directory: Where it is made.
        is_complete: Whether `out` holds what is requested.

    Raises:
        ConfigError: `out` holds something else, another request was begun there, or another run is
            at work on it.
    """

    def __init__(self, out: str | os.PathLike, request: Mapping[str, Any]) -> None:
        self.out = pathlib.Path(out).absolute()
        self._request = json.loads(json.dumps(request))
        self.directory = self.out.parent / f".{self.out.name}.incomplete"
        self.is_complete = self._check_out()
        if not self.is_complete:
            self._check_begun()

    def __enter__(self) -> "Staging":
        for folder in (shards.CLIPS, shards.FINISHED, shards.DATASET):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(open(self.directory / "lock", "w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"--out: another run is at work on {self.out}; wait for it, or end it"
                ) from error
            shards.write_whole(self.directory / "request.json", _to_json(self._request))
            # Of a run that was killed while it wrote.
            for left_over in self.directory.glob("*/*.new-*"):
                left_over.unlink(missing_ok=True)
            self._lock = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()

    def _check_out(self) -> bool:
        if self.out.exists() and not self.out.is_dir():
            raise ConfigError(f"--out: {self.out} is a file; name a directory for the dataset")
        if not self.out.is_dir() or not any(self.out.iterdir()):
            return False
        try:
            found = json.loads((self.out / "metadata.json").read_text())["request"]
        except (OSError, ValueError, LookupError) as error:
            raise ConfigError(
                f"--out: {self.out} holds something else; name another directory, or delete it"
            ) from error
        self._check_same(found, f"--out: {self.out} holds another dataset")
        return True

    def _check_begun(self) -> None:
        try:
            found = json.loads((self.directory / "request.json").read_text())
        except FileNotFoundError:
            return
        self._check_same(found, f"--out: another dataset was begun in {self.directory}")

    def _check_same(self, found: Mapping[str, Any], message: str) -> None:
        if found != self._request:
            differences = ", ".join(
                f"{key} is {found.get(key)!r}, not {self._request.get(key)!r}"
                for key in sorted(found.keys() | self._request.keys())
                if found.get(key) != self._request.get(key)
            )
            raise ConfigError(f"{message} ({differences}); name another --out, or delete it first")

    def complete(
        self,
        listing: Listing,
        planned: Sequence[shards.Shard],
        finished: Sequence[shards.FinishedShard],
        report: Mapping[str, Any],
    ) -> None:
        """Makes the finished shards the dataset, with a `report.json`.

        Args:
            listing: The dataset.
            planned: All its shards.
            finished: The same, in the same order.
            report: To be kept with the dataset.
        """
        directory = self.directory / shards.DATASET
        sizes: dict[str, list[records.ShardSize]] = {}
        for shard, facts in zip(planned, finished, strict=True):
            sizes.setdefault(shard.split, []).append(facts.size)
        # tfds knows no split without records.
        sizes = {split: of for split, of in sizes.items() if any(s.num_records for s in of)}
        # Others are of a listing that has changed since, or of a completion that was killed.
        for path in set(directory.iterdir()) - {s.path for s in planned if s.split in sizes}:
            path.unlink()
        records.write_description(
            directory,
            listing.name,
            records.record_features(listing.class_names, key_frames=listing.has_key_frames),
            sizes,
            description=listing.description,
            metadata={"request": self._request},
        )
        (directory / REPORT).write_bytes(_to_json(report))
        if self.out.exists():
            self.out.rmdir()
        directory.rename(self.out)
        self.clear()

    def clear(self) -> None:
        """Removes what is of no use once the dataset is complete."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
