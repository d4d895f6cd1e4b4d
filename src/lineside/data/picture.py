"""One file → one RGB picture: the only decoder. The check-up, training, evaluation and the line all come through here.

The rules, each the same everywhere (docs/check.md says them to users):

format       by content, never by name: JPEG, PNG, WebP, BMP, TIFF, PPM/PGM, GIF
refused      zero bytes; not one of these formats; cut short; damaged; more than one frame (animation, pages); more than
             MAX_PIXELS by its header, before anything is decoded; a side under MIN_SIDE_PX; 32-bit and Lab pixels
orientation  EXIF (or XMP) orientation is applied
grey         copied to R, G and B; 1-bit becomes 0 and 255
16-bit       v >> 8, the full range to the full range, never stretched by content (what libpng's strip_16 and OpenCV do)
alpha        composited on black: a colour hidden beneath a transparent pixel can not reach the net
CMYK, YCCK   Pillow's conversion without profile: R = 255 - min(255, C + K), ...
ICC profile  ignored, as cameras and other decoders on the line do
multi-picture JPEG (MPO)   its first picture, as every other program shows it
"""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from lineside.errors import PictureError

MAX_PIXELS = 178_956_970  # Pillow's own bomb limit: 512 MiB as RGB; larger than any area camera of 2026
MIN_SIDE_PX = 8

# Opened directly: Image.open would try every plugin there is, and warn on stderr about what is refused here anyway.
OPEN: dict[str, Callable[[io.BytesIO, str], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "GIF": (".gif",),
}
TO_RGB = {
    "RGB",
    "L",
    "1",
    "P",
    "CMYK",
    "YCbCr",
    "HSV",
    "RGBX",
}  # what Pillow's convert("RGB") does without loss of meaning
SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I;16N"}
TURN = {  # EXIF orientation: how the stored picture must be turned to stand upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112
HEAD_BYTES = 32  # what `sniff` needs
# What Pillow's readers raise on damaged input, as found by cutting and flipping bytes (tests/data/test_picture.py).
# UserWarning: odd TIFF tags and EXIF, where warnings are turned into errors.
DAMAGE = (OSError, SyntaxError, ValueError, LookupError, TypeError, EOFError, OverflowError, struct.error, UserWarning)


def load(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 RGB; PictureError says why not."""
    return decode(read_bytes(path, str(path)), str(path))


def decode(data: bytes, name: str) -> np.ndarray:
    """The bytes of a picture file as (H, W, 3) uint8 RGB, writable; PictureError(code, message) names the file."""
    return np.array(rgb(open_picture(data, name), name))


def read_bytes(path: Path | str, name: str) -> bytes:
    """A file's bytes; PictureError("unreadable") where the system does not give them."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        what_to_do = "check that it is there and may be read, or remove it"
        raise PictureError("unreadable", f"{name}: can not be read ({error.strerror}); {what_to_do}") from None


def sniff(head: bytes) -> str | None:
    """The format that a file's first HEAD_BYTES claim, a key of OPEN; None where it is no picture that we read."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if (
        head[:2] == b"BM"
        and len(head) >= 18
        and struct.unpack_from("<I", head, 14)[0] in (12, 40, 52, 56, 64, 108, 124)
    ):
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in (b" ", b"\n", b"\r", b"\t"):
        return "PPM"
    return None


def open_picture(data: bytes, name: str) -> ImageFile.ImageFile:
    """Read the header and refuse by it; nothing is decoded yet."""
    if not data:
        raise PictureError("zero-byte", f"{name}: holds no bytes; copy it again or remove it")
    form = sniff(data[:HEAD_BYTES])
    if form is None:
        raise PictureError(
            "not-a-picture",
            f"{name}: begins with {data[:8]!r}, which is none of {', '.join(OPEN)}; convert or remove it",
        )
    if form == "PNG":
        _whole_png(data, name)
    if form == "WEBP" and len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        raise PictureError(
            "truncated", f"{name}: the WebP ends after {len(data):,} bytes, before its own length; copy it again"
        )
    try:
        image = OPEN[form](io.BytesIO(data), name)
        width, height = image.size
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Image.DecompressionBombError as error:  # the GIF reader looks by itself
        raise _absurd(name, str(error)) from None
    except DAMAGE as error:
        raise _damaged(name, form, error) from None
    if width * height > MAX_PIXELS:
        raise _absurd(name, f"{width} × {height} pixels")
    if min(width, height) < MIN_SIDE_PX:
        raise PictureError(
            "tiny", f"{name}: is {width} × {height} pixels; at least {MIN_SIDE_PX} a side are needed; remove it"
        )
    if frames > 1:
        raise PictureError(
            "animated",
            f"{name}: holds {frames} frames or pages; one picture a file is expected; save each as its own file",
        )
    return image


def rgb(image: ImageFile.ImageFile, name: str) -> Image.Image:
    """Decode an opened picture into an upright Pillow picture of mode RGB."""
    ImageFile.LOAD_TRUNCATED_IMAGES = (
        False  # other packages switch it on; half a part must never be judged as a whole one
    )
    try:
        image.load()
        turn = TURN.get(orientation(image))
        plain = _to_rgb(image, name)
    except PictureError:
        raise
    except DAMAGE as error:
        raise _damaged(name, image.format or "picture", error) from None
    return plain.transpose(turn) if turn is not None else plain


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or its block is damaged (then nobody can say how it was held)."""
    if image.format == "JPEG" and not image.info.keys() & {"exif", "xmp"}:
        return 1  # the usual camera picture: spares the parser
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except DAMAGE:
        return 1
    return value if value in TURN else 1


def has_alpha(image: Image.Image) -> bool:
    """Whether some pixel could be transparent, by mode or by a transparent palette entry or key colour."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def is_see_through(image: Image.Image) -> bool:
    """Whether some pixel of a loaded picture is transparent, in part or whole."""
    return has_alpha(image) and bool(np.asarray(image.convert("RGBA"))[:, :, 3].min() < 255)


def is_16_bit(image: Image.Image, data: bytes) -> bool:
    """More than 8 bits a channel in the file. Pillow reads 16-bit colour by its high bytes, so its mode is silent."""
    if image.format == "PNG":
        return data[24] == 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))) > 8
    return image.mode in SIXTEEN_BIT or image.mode == "I"


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in SIXTEEN_BIT or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if has_alpha(image):
        layered = image.convert("RGBA")
        alpha = layered.getchannel("A")
        if alpha.getextrema()[0] == 255:
            return layered.convert("RGB")
        ground = Image.new("RGB", layered.size)
        ground.paste(layered, mask=alpha)
        return ground
    if image.mode in TO_RGB:
        return image.convert("RGB")
    raise PictureError(
        "unsupported-mode",
        f"{name}: holds pixels of kind {image.mode}, without a rule to 8 bits; save it as 8- or 16-bit grey or RGB",
    )


def _whole_png(data: bytes, name: str) -> None:
    """Every chunk is there and its checksum right. Pillow skips the checksums of the pixels; this costs 1 ms per MB."""
    at, view = 8, memoryview(data)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise PictureError("corrupt", f"{name}: the checksum of its PNG chunk {kind!r} is wrong; copy it again")
        if kind == b"IEND":
            return
        at = end
    raise PictureError(
        "truncated", f"{name}: the PNG ends after {len(data):,} bytes without its last chunk; copy it again"
    )


def _absurd(name: str, claim: str) -> PictureError:
    what_to_do = f"at most {MAX_PIXELS:,} pixels are decoded; cut it into smaller pictures or remove it"
    return PictureError("absurd-size", f"{name}: its header claims {claim}; {what_to_do}")


def _damaged(name: str, form: str, error: Exception) -> PictureError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    if "truncat" in reason.lower() or isinstance(error, EOFError):
        return PictureError("truncated", f"{name}: the {form} ends too early ({reason}); copy it again or remove it")
    return PictureError("corrupt", f"{name}: the {form} can not be decoded ({reason}); copy it again or remove it")
