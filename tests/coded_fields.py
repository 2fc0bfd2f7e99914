"""H.264 whose frames are coded as two fields, written bit by bit: no encoder of FFmpeg does it."""

import numpy as np

WIDTH, HEIGHT = 176, 144
_MACROBLOCKS = WIDTH // 16 * -(-HEIGHT // 32)  # of one field


class _Writer:
    def __init__(self) -> None:
        self._bits = ""

    def put(self, *numbers: int, bits: int = 1) -> None:
        """Unsigned numbers of so many bits."""
        self._bits += "".join(format(number, f"0{bits}b") for number in numbers)

    def exp_golomb(self, *numbers: int) -> None:
        for number in numbers:
            code = format(number + 1, "b")
            self._bits += "0" * (len(code) - 1) + code

    def align(self) -> None:
        self._bits += "0" * (-len(self._bits) % 8)

    def unit(self, kind: int, importance: int) -> bytes:
        """A unit with its start code, the last bit and what keeps start codes out of it."""
        self.put(1)
        self.align()
        content = bytearray()
        for byte in int(self._bits, 2).to_bytes(len(self._bits) // 8, "big"):
            if byte <= 3 and content[-2:] == b"\0\0":
                content.append(3)
            content.append(byte)
        return b"\0\0\0\1" + bytes([importance << 5 | kind]) + bytes(content)


def _headers() -> bytes:
    sequence = _Writer()
    sequence.put(77, 0, 20, bits=8)  # profile_idc, constraint flags, level_idc
    # seq_parameter_set_id, log2_max_frame_num_minus4, pic_order_cnt_type, max_num_ref_frames
    sequence.exp_golomb(0, 0, 2, 2)
    sequence.put(0)
    sequence.exp_golomb(WIDTH // 16 - 1, -(-HEIGHT // 32) - 1)
    # frame_mbs_only_flag, mb_adaptive_frame_field_flag, direct_8x8_inference_flag, frame_cropping
    sequence.put(0, 0, 1, 1)
    sequence.exp_golomb(0, 0, 0, -HEIGHT % 32 // 4)
    sequence.put(0)
    picture = _Writer()
    picture.exp_golomb(0, 0)
    picture.put(0, 0)
    picture.exp_golomb(0, 0, 0)
    picture.put(0, 0, 0)
    picture.exp_golomb(0, 0, 0)
    picture.put(0, 0, 0)
    return sequence.unit(7, 3) + picture.unit(8, 3)


def _field(frame_num: int, is_bottom: bool, is_refresh: bool, shade: int) -> bytes:
    slice_ = _Writer()
    slice_.exp_golomb(0, 7, 0)  # first_mb_in_slice, slice_type, pic_parameter_set_id
    slice_.put(frame_num, bits=4)
    slice_.put(1, is_bottom)  # field_pic_flag, bottom_field_flag
    if is_refresh:
        slice_.exp_golomb(0)  # idr_pic_id
        slice_.put(0)
    slice_.put(0)
    slice_.exp_golomb(0)  # slice_qp_delta
    for _ in range(_MACROBLOCKS):
        slice_.exp_golomb(25)  # The pixels as they are.
        slice_.align()
        slice_.put(*[shade] * 256, *[128] * 128, bits=8)
    return slice_.unit(5 if is_refresh else 1, 3)


def fields(num_frames: int, group: int = 8) -> list[tuple[bytes, bytes]]:
    """The upper and the lower field of each frame, of one shade each."""
    shades = np.linspace(30, 220, 2 * num_frames).astype(int).reshape(-1, 2).tolist()
    frames = []
    for number, (upper, lower) in enumerate(shades):
        is_first = number % group == 0
        first = _field(number % group, False, is_first, upper)
        frames.append((_headers() * is_first + first, _field(number % group, True, False, lower)))
    return frames
