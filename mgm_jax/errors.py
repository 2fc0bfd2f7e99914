"""Errors that the user can fix; programs end with their message, without a traceback."""


class MgmError(Exception):
    """Its message says what is wrong, where, and how to fix it."""


class ConfigError(MgmError, ValueError):
    """A config value or command-line flag that cannot work."""


class VideoError(MgmError, ValueError):
    """A video that cannot be read; training skips it."""


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
