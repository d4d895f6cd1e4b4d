"""Raw pixels of a camera → (H, W, 3) uint8 RGB, by the name of their format.

Names are those of the GenICam Pixel Format Naming Convention (PFNC 2.4), with what older cameras say instead.

grey          copied to R, G and B
10, 12, 16    shifted to 8 bits (the high bits are kept), never stretched; `depth` says how many there were
Bayer         bilinear: each colour that a pixel lacks is the rounded-down mean of its 2 or 4 nearest neighbours of that
              colour, the picture mirrored at its border (so every neighbour there has the colour it should)
YUV, YCbCr    ITU-R BT.601 over the full range 0 to 255, as in JPEG; in 4:2:2 both pixels of a pair have its colour
packed        "p": least significant bits first, without gaps; "Packed": GigE Vision's two pixels in three bytes
alpha         dropped
"""

import re
from collections.abc import Callable

import numpy as np

from lineside.errors import LineError

SAME = {  # older name: PFNC's
    "RGB8Packed": "RGB8",
    "BGR8Packed": "BGR8",
    "RGBA8Packed": "RGBa8",
    "BGRA8Packed": "BGRa8",
    "YUV422Packed": "YUV422_8_UYVY",
    "YUV422_YUYV_Packed": "YUV422_8",
    "YCbCr422_8": "YUV422_8",
    "YCbCr422_8_CbYCrY": "YUV422_8_UYVY",
}
BITS = re.compile(r"(Mono|Bayer(RG|GR|GB|BG))(8|10|12|14|16)(p|Packed)?")
CHANNELS = {  # bytes a pixel, and where R, G, B are among them
    "RGB8": (3, (0, 1, 2)),
    "BGR8": (3, (2, 1, 0)),
    "RGBa8": (4, (0, 1, 2)),
    "BGRa8": (4, (2, 1, 0)),
}
RED_AT = {"RG": (0, 0), "GR": (0, 1), "GB": (1, 0), "BG": (1, 1)}  # row and column of red in each 2 × 2
Y_AT = {"YUV422_8": 0, "YUV422_8_UYVY": 1}  # where the first Y is among the four bytes of a pair


def converter(name: str, width: int, height: int) -> Callable[[np.ndarray], np.ndarray]:
    """convert(bytes of one picture (n,) uint8) -> (H, W, 3) uint8 RGB. LineError for a format without a rule."""
    form = SAME.get(name, name)
    if form in CHANNELS:
        size, order = CHANNELS[form]
        return lambda raw: raw[: width * height * size].reshape(height, width, size)[..., order].copy()
    if form in Y_AT and width % 2 == 0:
        return lambda raw: _yuv422(raw[: width * height * 2].reshape(height, width // 2, 4), Y_AT[form])
    found = BITS.fullmatch(form)
    if not found or (found[4] == "Packed" and found[3] not in ("10", "12")):
        raise LineError(
            f"pixel format {name} of {width} × {height} has no rule to RGB; set the camera to Mono8, RGB8 or a Bayer "
            "format with its vendor's program"
        )
    bits, packed, bayer = int(found[3]), found[4], found[2]

    def convert(raw: np.ndarray) -> np.ndarray:
        eight = _eight_bits(raw, bits, packed, width * height).reshape(height, width)
        return debayer(eight, bayer) if bayer else np.repeat(eight[..., None], 3, axis=2)

    return convert


def depth(name: str) -> int:
    """Bits a channel of a pixel format; 8 where its name says nothing else."""
    found = BITS.fullmatch(SAME.get(name, name))
    return int(found[3]) if found else 8


def depth_note(name: str) -> tuple[str, ...]:
    bits = depth(name)
    return (f"pixels are {name}: {bits} bits are shifted to 8",) if bits > 8 else ()


def _eight_bits(raw: np.ndarray, bits: int, packed: str | None, count: int) -> np.ndarray:
    """(count,) uint8: the high 8 of each pixel's bits."""
    if bits == 8:
        return raw[:count]
    if packed is None:  # two bytes a pixel, little-endian
        return (raw[: 2 * count].view("<u2") >> (bits - 8)).astype(np.uint8)
    if (
        packed == "Packed"
    ):  # byte 0: high 8 of the first pixel; byte 1: the low bits of both; byte 2: high 8 of the second
        pairs = raw[: 3 * ((count + 1) // 2)].reshape(-1, 3)
        return pairs[:, [0, 2]].reshape(-1)[:count]
    stream = np.unpackbits(raw[: (count * bits + 7) // 8], bitorder="little")[: count * bits].reshape(count, bits)
    return np.packbits(stream[:, bits - 8 :], axis=1, bitorder="little").reshape(-1)


def _yuv422(pairs: np.ndarray, y_at: int) -> np.ndarray:
    """(H, W / 2, 4) → (H, W, 3)."""
    from PIL import Image

    height, half, _ = pairs.shape
    chroma = pairs[..., 1 - y_at :: 2]
    ycc = np.empty((height, half, 2, 3), np.uint8)
    ycc[..., 0] = pairs[..., y_at::2]
    ycc[..., 1:] = chroma[:, :, None, :]
    return np.asarray(Image.fromarray(ycc.reshape(height, half * 2, 3), "YCbCr").convert("RGB"))


def debayer(raw: np.ndarray, pattern: str) -> np.ndarray:
    """Bilinear: (H, W) uint8 → (H, W, 3) uint8. pattern: RG, GR, GB, BG, the first two pixels of the first row."""
    height, width = raw.shape
    red_y, red_x = RED_AT[pattern]
    p = np.pad(raw, 1, mode="reflect").astype(np.uint16)
    rgb = np.empty((height, width, 3), np.uint8)

    def at(y: int, x: int, dy: int, dx: int) -> np.ndarray:
        """The neighbours of every second pixel from (y, x), dy down and dx to the right."""
        return p[1 + y + dy : 1 + dy + height : 2, 1 + x + dx : 1 + dx + width : 2]

    for y in (0, 1):
        for x in (0, 1):
            own = at(y, x, 0, 0)
            sides, ends = at(y, x, 0, -1) + at(y, x, 0, 1), at(y, x, -1, 0) + at(y, x, 1, 0)
            place = rgb[y::2, x::2]
            if (y == red_y) == (x == red_x):  # a red or a blue pixel
                here, there = (0, 2) if y == red_y else (2, 0)
                corners = at(y, x, -1, -1) + at(y, x, -1, 1) + at(y, x, 1, -1) + at(y, x, 1, 1)
                place[..., here], place[..., 1], place[..., there] = own, (sides + ends) >> 2, corners >> 2
            else:  # green: its row's other colour lies beside it, that of the other rows above and below
                row, column = (0, 2) if y == red_y else (2, 0)
                place[..., row], place[..., 1], place[..., column] = sides >> 1, own, ends >> 1
    return rgb
