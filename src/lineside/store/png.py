"""RGB pixels as a PNG and back, without loss: what a camera's picture is kept as.

PNG     ISO/IEC 15948 (W3C PNG, third edition): 8 bits a sample, colour type 2, filter Sub on every row, one IDAT.

Not Pillow: of 2500 × 2000 noisy pixels it makes a file of the same size in 0.46 s, this in 0.20 s (level 1, EPYC Zen 5),
so the thread that writes pictures follows twice as many. Other threads were held up by both for about 5 ms.
"""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SUB = 1
LEVEL = 1  # of zlib: noise of a sensor does not get smaller by more work


def encode(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB → the bytes of a PNG."""
    height, width, _ = picture.shape
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = SUB
    rows[:, 1:4] = picture[:, 0]
    np.subtract(picture[:, 1:], picture[:, :-1], out=rows[:, 4:].reshape(height, width - 1, 3))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(rows.data, LEVEL)
    return b"".join((SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", packed), *_chunk(b"IEND", b"")))


def decode(data: bytes) -> np.ndarray:
    """The pixels of a PNG that `encode` wrote; ValueError for anything else."""
    if not data.startswith(SIGNATURE):
        raise ValueError("is no PNG")
    chunks, at = {}, len(SIGNATURE)
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at) if at + 12 <= len(data) else (len(data), b"")
        body = data[at + 8 : at + 8 + size]
        if len(data) < at + 12 + size or data[at : at + 12 + size] != b"".join(_chunk(kind, body)):
            raise ValueError("is damaged: the check sum of a part of it is wrong")
        chunks[kind] = body
        at += 12 + size
    if set(chunks) != {b"IHDR", b"IDAT", b"IEND"} or len(chunks[b"IHDR"]) != 13:
        raise ValueError("is no PNG of Lineside's")
    width, height, *form = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    expected = height * (1 + 3 * width)
    try:
        unpacked = zlib.decompressobj().decompress(chunks[b"IDAT"], expected + 1)
    except zlib.error as error:
        raise ValueError(f"is damaged: {error}") from None
    if form != [8, 2, 0, 0, 0] or len(unpacked) != expected:
        raise ValueError("is no PNG of Lineside's")
    rows = np.frombuffer(unpacked, np.uint8).reshape(height, 1 + 3 * width)
    if (rows[:, 0] != SUB).any():
        raise ValueError("is no PNG of Lineside's")
    return np.cumsum(rows[:, 1:].reshape(height, width, 3), axis=1, dtype=np.uint8)


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Its pieces, to be joined once: a copy of a large picture holds Python's lock."""
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
