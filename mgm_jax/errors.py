"""The errors that are a person's to mend; programs end with their message, without a traceback."""


class MgmError(Exception):
    """Names the thing that is wrong, where it is, and the cure."""


class ConfigError(MgmError, ValueError):
    """A config value or command-line flag that cannot work."""


class VideoError(MgmError, ValueError):
    """A video that cannot be read; training skips it."""


class TooManySkippedError(MgmError, RuntimeError):
    """More videos than allowed could not be read."""


class ReadTimeoutError(MgmError, TimeoutError):
    """A batch did not come in time: a read hangs, or a reader has gone."""


class DoesNotFitError(MgmError, MemoryError):
    """A step needs more memory than a chip has."""


class CheckpointError(MgmError, RuntimeError):
    """A checkpoint could not be written, or does not fit the run."""


class NonFiniteLossError(MgmError, FloatingPointError):
    """The loss or a gradient became infinite or not a number."""
