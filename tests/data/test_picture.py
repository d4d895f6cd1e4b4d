"""The one decoder: its rules, and that nothing but PictureError comes out of damaged bytes."""

import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from lineside.data import picture
from lineside.data.facts import facts
from lineside.errors import PictureError
from tests.data.drawing import drawing, encoded

LOSSLESS = ["PNG", "BMP", "TIFF", "PPM"]
EXACT = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}
FORMS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF"]


def code_of(data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        picture.decode(data, "part 7.png")
    assert str(caught.value).startswith("part 7.png: ")
    return caught.value.code


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_formats_come_back_exactly(form: str) -> None:
    image = drawing(1)
    pixels = picture.decode(encoded(image, form), "x")
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert np.array_equal(pixels, np.asarray(image))


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_come_back_nearly(form: str) -> None:
    pixels = picture.decode(encoded(drawing(1), form), "x")
    assert np.abs(pixels.astype(int) - np.asarray(drawing(1))).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    image, exif = drawing(2, 40, 24), Image.Exif()
    exif[picture.ORIENTATION] = orientation
    data = encoded(image, form, exif=exif, **EXACT.get(form, {}))
    turn = picture.TURN.get(orientation)
    expected = np.asarray(image.transpose(turn) if turn is not None else image)
    pixels = picture.decode(data, "x")
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < (3 if form == "JPEG" else 0.01)
    assert ("exif-rotated" in facts(data, "x.png").marks) == (orientation != 1)


def test_xmp_orientation_is_applied_too() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(drawing(2, 40, 24), "JPEG", xmp=xmp)
    assert picture.decode(data, "x").shape == (40, 24, 3)


def test_sixteen_bits_are_shifted_not_stretched() -> None:
    grey = np.array([[0, 255, 256, 4095], [32768, 65279, 65280, 65535]], np.uint16).repeat(8, 0).repeat(8, 1)
    for form in ("PNG", "TIFF"):
        pixels = picture.decode(encoded(Image.fromarray(grey), form), "x")
        assert np.array_equal(pixels, np.stack([grey >> 8] * 3, axis=2))
    assert "16-bit" in facts(encoded(Image.fromarray(grey)), "x.png").marks


def test_grey_palette_and_one_bit_become_rgb() -> None:
    grey = drawing(3).convert("L")
    assert np.array_equal(picture.decode(encoded(grey), "x"), np.stack([np.asarray(grey)] * 3, axis=2))
    palette = drawing(3).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(picture.decode(encoded(palette), "x"), np.asarray(palette.convert("RGB")))
    assert set(np.unique(picture.decode(encoded(grey.convert("1")), "x"))) == {0, 255}


def test_alpha_is_composited_on_black_and_an_opaque_one_changes_nothing() -> None:
    image = drawing(4).convert("RGBA")
    opaque = picture.decode(encoded(image), "x")
    assert np.array_equal(opaque, np.asarray(drawing(4)))
    assert "alpha" not in facts(encoded(image), "x.png").marks
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:24] = 0
    image.putalpha(Image.fromarray(alpha))
    pixels = picture.decode(encoded(image), "x")
    assert not pixels[:24].any()
    assert np.array_equal(pixels[24:], np.asarray(drawing(4))[24:])
    assert "alpha" in facts(encoded(image), "x.png").marks


def test_cmyk_is_converted_and_said() -> None:
    data = encoded(drawing(5).convert("CMYK"), "TIFF")
    assert np.array_equal(picture.decode(data, "x"), np.asarray(drawing(5).convert("CMYK").convert("RGB")))
    assert "cmyk" in facts(data, "x.tif").marks


def test_refusals_have_their_codes() -> None:
    frames = [drawing(i) for i in range(3)]
    many = {"save_all": True, "append_images": frames[1:]}
    assert code_of(b"") == "zero-byte"
    assert code_of(b"hello, this is a text") == "not-a-picture"
    assert code_of(encoded(drawing(1, 7, 100))) == "tiny"
    for form in ("GIF", "WEBP", "TIFF", "PNG"):
        assert code_of(encoded(frames[0], form, **many)) == "animated"
    assert code_of(encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF")) == "unsupported-mode"


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    data = bytearray(encoded(drawing(1), "BMP"))
    struct.pack_into("<ii", data, 18, 60_000, 60_000)
    with pytest.raises(PictureError, match=r"its header claims 60000 × 60000 pixels; at most 178,956,970") as caught:
        picture.open_picture(bytes(data), "bomb.bmp")
    assert caught.value.code == "absurd-size"
    gif = bytearray(encoded(drawing(1), "GIF"))
    struct.pack_into("<HH", gif, 6, 65_000, 65_000)
    assert code_of(bytes(gif)) in ("absurd-size", "corrupt", "truncated")


@pytest.mark.parametrize("form", FORMS)
def test_every_cut_is_refused(form: str) -> None:
    data = encoded(drawing(6), form)
    for keep in [*range(1, 60, 7), len(data) // 2, len(data) - 40]:
        assert code_of(data[:keep]) in ("truncated", "corrupt", "not-a-picture")
    assert code_of(data[: len(data) // 2]) == "truncated"


def test_half_a_part_is_never_shown_even_if_another_package_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(drawing(6, 300, 200), "JPEG")
    assert code_of(data[: len(data) * 2 // 3]) == "truncated"


def test_one_wrong_bit_in_a_png_is_seen() -> None:
    data = bytearray(encoded(drawing(6)))
    data[len(data) // 2] ^= 1
    assert code_of(bytes(data)) == "corrupt"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_gives_pixels_or_a_picture_error_nothing_else(form: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(encoded(drawing(7), form))
    for place, value in changes:
        data[min(int(place * len(data)), len(data) - 1)] = value
    with suppress(PictureError):
        assert picture.decode(bytes(data), "x").ndim == 3


def test_facts_and_decode_agree_and_content_is_pixels() -> None:
    png, bmp = facts(encoded(drawing(8)), "a.png"), facts(encoded(drawing(8), "BMP"), "b.bmp")
    assert png.pixels == bmp.pixels
    assert png.sha256 != bmp.sha256
    assert (png.width, png.height, png.form) == (64, 48, "PNG")
    assert facts(encoded(drawing(9)), "a.png").pixels != png.pixels
    assert "wrong-extension" in facts(encoded(drawing(8)), "a.jpg").marks
    assert "blank" in facts(encoded(Image.new("L", (50, 50), 3)), "a.png").marks
