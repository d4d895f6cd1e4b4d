"""Raw pixels → RGB: each format against a slow way, or a picture whose answer is known."""

import numpy as np
import pytest
from scipy.ndimage import convolve

from lineside.errors import LineError
from lineside.line.source.pixels import RED_AT, converter, debayer, depth, depth_note

H, W = 6, 8


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_grey_goes_to_all_three(rng):
    raw = rng.integers(0, 256, H * W).astype(np.uint8)
    rgb = converter("Mono8", W, H)(raw)
    assert rgb.shape == (H, W, 3)
    assert (rgb == raw.reshape(H, W, 1)).all()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_two_bytes_are_shifted_to_the_high_eight_bits(rng, bits):
    values = rng.integers(0, 2**bits, H * W).astype("<u2")
    rgb = converter(f"Mono{bits}", W, H)(values.view(np.uint8))
    assert (rgb[..., 1].reshape(-1) == values >> (bits - 8)).all()
    assert depth(f"Mono{bits}") == bits
    assert depth_note(f"Mono{bits}") == (f"pixels are Mono{bits}: {bits} bits are shifted to 8",)


@pytest.mark.parametrize("bits", [10, 12])
def test_packed_pixels_by_the_letter_of_pfnc(rng, bits):
    """p: the pixels' bits one after another, lowest first."""
    values = rng.integers(0, 2**bits, H * W)
    stream = "".join(format(v, f"0{bits}b")[::-1] for v in values)
    raw = np.array([int(stream[i : i + 8][::-1], 2) for i in range(0, len(stream), 8)], np.uint8)
    assert (converter(f"Mono{bits}p", W, H)(raw)[..., 0].reshape(-1) == values >> (bits - 8)).all()


@pytest.mark.parametrize(("bits", "mask"), [(10, 0x3), (12, 0xF)])
def test_packed_pixels_of_gige_vision(rng, bits, mask):
    values = rng.integers(0, 2**bits, H * W)
    raw = []
    for a, b in values.reshape(-1, 2):
        raw += [a >> (bits - 8), (a & mask) | (b & mask) << 4, b >> (bits - 8)]
    rgb = converter(f"Mono{bits}Packed", W, H)(np.array(raw, np.uint8))
    assert (rgb[..., 2].reshape(-1) == values >> (bits - 8)).all()


@pytest.mark.parametrize(
    ("name", "order"),
    [("RGB8", "rgb"), ("RGB8Packed", "rgb"), ("BGR8", "bgr"), ("RGBa8", "rgba"), ("BGRA8Packed", "bgra")],
)
def test_colour_in_any_order_and_alpha_dropped(rng, name, order):
    raw = rng.integers(0, 256, (H, W, len(order))).astype(np.uint8)
    rgb = converter(name, W, H)(raw.reshape(-1))
    for channel, colour in enumerate("rgb"):
        assert (rgb[..., channel] == raw[..., order.index(colour)]).all()


@pytest.mark.parametrize(
    ("name", "at"), [("YUV422_8", (0, 1, 3)), ("YUV422_8_UYVY", (1, 0, 2)), ("YCbCr422_8", (0, 1, 3))]
)
def test_yuv_by_bt_601_over_the_full_range(rng, name, at):
    y_at, u_at, v_at = at
    raw = rng.integers(0, 256, (H, W // 2, 4)).astype(np.uint8)
    y = np.stack([raw[..., y_at], raw[..., y_at + 2]], -1).reshape(H, W).astype(float)
    u, v = (np.repeat(raw[..., c], 2, axis=1).astype(float) - 128 for c in (u_at, v_at))
    expected = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], -1)
    assert np.abs(converter(name, W, H)(raw.reshape(-1)) - np.clip(expected, 0, 255)).max() <= 1.01


def slowly(raw: np.ndarray, pattern: str) -> np.ndarray:
    """Bilinear as an average over masks, mirrored at the border; rounded down."""
    red_y, red_x = RED_AT[pattern]
    y, x = np.indices(raw.shape)
    is_red = (y % 2 == red_y) & (x % 2 == red_x)
    is_blue = (y % 2 != red_y) & (x % 2 != red_x)
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]])
    out = []
    for mask, weights in ((is_red, kernel), (~is_red & ~is_blue, cross), (is_blue, kernel)):
        total = convolve(np.where(mask, raw, 0).astype(int), weights, mode="mirror")
        out.append(np.where(mask, raw, total // convolve(mask.astype(int), weights, mode="mirror")))
    return np.stack(out, -1).astype(np.uint8)


@pytest.mark.parametrize("pattern", RED_AT)
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (2, 2), (3, 8)])
def test_bayer_is_bilinear(rng, pattern, size):
    raw = rng.integers(0, 256, size).astype(np.uint8)
    assert (debayer(raw, pattern) == slowly(raw, pattern)).all()


@pytest.mark.parametrize("pattern", RED_AT)
@pytest.mark.parametrize("name", ["Bayer{}8", "Bayer{}12", "Bayer{}12p"])
def test_a_plain_colour_is_the_same_everywhere(pattern, name):
    colour = (200, 100, 50)
    y, x = np.indices((H, W))
    red_y, red_x = RED_AT[pattern]
    at = np.where((y % 2 == red_y) & (x % 2 == red_x), 0, np.where((y % 2 != red_y) & (x % 2 != red_x), 2, 1))
    raw = np.array(colour, np.uint16)[at].reshape(-1)
    if name.endswith("12"):
        raw = (raw << 4).astype("<u2")
    if name.endswith("12p"):
        bits = np.unpackbits((raw << 4).astype("<u2").view(np.uint8), bitorder="little").reshape(-1, 16)[:, :12]
        raw = np.packbits(bits.reshape(-1), bitorder="little")
    raw = raw.astype(np.uint8) if name.endswith("8") else raw.view(np.uint8)
    assert (converter(name.format(pattern), W, H)(raw) == colour).all()


@pytest.mark.parametrize("name", ["Coord3D_ABC32f", "Mono8Packed", "YUV411_8", "Mono1p", ""])
def test_a_format_without_a_rule_is_refused(name):
    with pytest.raises(LineError, match=r"has no rule to RGB; set the camera to Mono8"):
        converter(name, W, H)
