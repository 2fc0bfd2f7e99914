"""How many bytes a file should have by its own header: AVI, Matroska and WebM."""

HEAD_BYTES = 512
"""The first bytes of a file that `announced_size` reads."""

_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def announced_size(head: bytes) -> int | None:
    """The size of a file in bytes, by its first `HEAD_BYTES`; it may go on after that.

    Returns None if they do not say it: other formats, and recordings that were written without
    going back to their beginning. Source: RIFF; RFC 8794 and RFC 9559.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        body = int.from_bytes(head[4:8], "little")
        return body + 8 if 0 < body < 2**32 - 1 else None
    if head[:4] != _EBML:
        return None
    try:
        size, position = _element_size(head, len(_EBML))
        if size is None or not head.startswith(_SEGMENT, position + size):
            return None
        size, position = _element_size(head, position + size + len(_SEGMENT))
    except IndexError:
        return None
    return None if size is None else position + size


def _element_size(head: bytes, position: int) -> tuple[int | None, int]:
    """A size of variable length, None for the unknown one, and the position after it."""
    length = 9 - head[position].bit_length()
    field = head[position : position + length]
    if length > 8 or len(field) < length:
        raise IndexError(position)
    limit = (1 << 7 * length) - 1
    size = int.from_bytes(field, "big") & limit
    return (None if size == limit else size), position + length
