"""Errors that the user can fix; programs end with their message, without a traceback."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any


class MgmError(Exception):
    """Its message says what is wrong, where, and how to fix it."""


class ConfigError(MgmError, ValueError):
    """A config value or command-line flag that cannot work."""


class VideoError(MgmError, ValueError):
    """A video that cannot be read; training skips it."""


def printable(name: str) -> str:
    r"""A name as it is written and shown: one line of UTF-8 without invisible characters.

    Everything else is escaped as in Python: line breaks, control characters, changes of the writing
    direction, and bytes of a file's name that are not UTF-8 (`\udce9` for E9).
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The values that differ: "short_side: 256 -> 128", ..."""
    return [
        f"{name}: {then.get(name, 'absent')!r} -> {now.get(name, 'absent')!r}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name, "absent") != now.get(name, "absent")
    ]


@contextlib.contextmanager
def reading_video(name: str) -> Iterator[None]:
    """Whatever goes wrong inside is a `VideoError` that names the video, so that it is skipped.

    One odd file among thousands must not end a run, whichever library it makes fail, and how.
    """
    try:
        yield
    except VideoError:
        raise
    except Exception as error:
        cause = printable(f"{type(error).__name__}: {error}".rstrip(": "))
        raise VideoError(
            f"{printable(name)}: it cannot be read ({cause}); get the file again, or leave it out"
        ) from error


class TooManySkippedError(MgmError, RuntimeError):
    """More videos than `config.data.max_bad_fraction` could not be read."""


class ReadTimeoutError(MgmError, TimeoutError):
    """A batch did not come in time: a read hangs, or a data worker has left."""


class WorkerError(MgmError, RuntimeError):
    """Data workers die, again as soon as a run is resumed."""


class DoesNotFitError(MgmError, MemoryError):
    """A step needs more memory than a chip has."""


class CheckpointError(MgmError, RuntimeError):
    """A checkpoint could not be read or written, or does not fit the run."""


class WriteError(MgmError, OSError):
    """A file could not be written; the message says why and what helps."""


class NonFiniteLossError(MgmError, FloatingPointError):
    """The loss or a gradient became infinite or NaN."""
