"""What attention promises: its cost, its masks, its tables at other sizes, and what it costs to leave a part out."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lineside.nets import coatnet, swin, vit
from lineside.nets.catalog import NETS
from lineside.nets.drop_path import DropPath, rising
from lineside.nets.places import cubic, linear
from tests.nets.test_every_net import Macs


def test_attention_is_counted_the_same_on_a_device_and_on_meta():
    counts = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            net, x = vit.Attention(12, 3).eval(), torch.zeros(2, 5, 12)
        with Macs() as counted, torch.no_grad():
            net(x)
        counts.append(counted.total)
    assert counts == [2 * (5 * 4 * 12 * 12 + 2 * 5 * 5 * 12)] * 2


def test_vit_b_16_costs_what_its_shapes_say():
    """17.56 G MAC by arithmetic: patches, 12 blocks of four projections, two products, two hidden layers; the head."""
    t, c = 197, 768
    assert NETS["vit_b_16"].macs == 196 * c * c + 12 * (t * 12 * c * c + 2 * t * t * c) + 1000 * c
    assert round(NETS["vit_b_16"].macs / 1e9, 2) == 17.56
    assert round(NETS["swin_b"].macs / 1e9, 2) == 15.43


def test_a_position_table_of_the_same_grid_is_left_alone_and_another_keeps_a_ramp():
    tokens = vit.Tokens(2, 8)
    with torch.no_grad():
        rows = torch.arange(8.0).repeat_interleave(8)
        tokens.places[0, 1:] = torch.stack([rows, torch.arange(8.0).repeat(8)], 1)
        tokens.token.zero_()
        same = tokens(torch.zeros(1, 2, 8, 8))
        wide = tokens(torch.zeros(1, 2, 16, 24))
    assert torch.equal(same, tokens.places)
    assert torch.equal(wide[:, 0], tokens.places[:, 0])
    places = wide[0, 1:].view(16, 24, 2)
    inner = places[4:-4, 6:-6]
    down, right = (torch.arange(4.0, 12) + 0.5) / 2 - 0.5, (torch.arange(6.0, 18) + 0.5) / 3 - 0.5
    torch.testing.assert_close(inner[:, :, 0], down[:, None].expand(-1, 12))
    torch.testing.assert_close(inner[:, :, 1], right.expand(8, -1))


@pytest.mark.parametrize("weights", [cubic, linear])
@pytest.mark.parametrize(("n", "size"), [(1, 1), (1, 3), (2, 5), (7, 4), (27, 15), (16, 16), (14, 24), (9, 1)])
def test_a_table_resized_has_rows_that_sum_to_1_and_is_mirrored_with_the_table(weights, n, size):
    made = torch.tensor(weights(n, size))
    assert made.shape == (size, n)
    torch.testing.assert_close(made.sum(1), torch.ones(size))
    torch.testing.assert_close(made, made.flip(0, 1))
    if n == size:
        torch.testing.assert_close(made, torch.eye(n))
    assert not (weights is linear and n > 1 < size) or made[0, 0] == made[-1, -1] == 1


def test_without_its_table_vit_does_not_know_where_its_patches_are():
    torch.manual_seed(0)
    net = vit.build(vit.ViT(8, 24, 4, 3, 48, side=32), 5).eval()
    patches = torch.randn(1, 3, 4, 8, 4, 8)
    turned = patches.flip(2, 4).reshape(1, 3, 32, 32)
    with torch.no_grad():
        there = (net(patches.reshape(1, 3, 32, 32)) - net(turned)).abs().max()
        net.get_submodule("stem.tokens").places.zero_()  # pyright: ignore
        gone = (net(patches.reshape(1, 3, 32, 32)) - net(turned)).abs().max()
    assert there > 1e-4
    assert gone < 1e-5


class Sees(nn.Module):
    """In a window's place: every place gets the mean of those that it may look at."""

    def forward(self, x, apart):
        allowed = (apart[:, 0] == 0).to(x.dtype)
        return (allowed / allowed.sum(2, keepdim=True)) @ x


@pytest.mark.parametrize("shift", [0, 2])
def test_no_place_looks_across_the_edge_of_the_map(shift):
    """The gradient of one place reaches only its own (shifted) window, cut at the map's edges."""
    x = torch.randn(1, 12, 8, 1, requires_grad=True)
    out = swin.Windows(Sees(), 4, shift)(x)
    for row in range(12):
        for column in range(8):
            (grad,) = torch.autograd.grad(out[0, row, column, 0], x, retain_graph=True)
            seen = grad[0, :, :, 0].nonzero()
            for axis, (at, length) in enumerate(((row, 12), (column, 8))):
                first = (at + (4 - shift) % 4) // 4 * 4 - (4 - shift) % 4
                assert seen[:, axis].min() == max(first, 0)
                assert seen[:, axis].max() == min(first + 3, length - 1)


def test_windows_pad_what_is_no_multiple_and_one_window_is_not_shifted():
    x = torch.randn(2, 5, 3, 4)
    kept = swin.Windows(Sees(), 7, 3)(x)
    assert kept.shape == x.shape
    torch.testing.assert_close(kept, (x.sum((1, 2), keepdim=True) / 49).expand_as(x))


@pytest.mark.parametrize("kind", [swin.Dot, swin.Cosine])
def test_attention_in_a_window_is_softmax_of_logits_plus_bias(kind):
    """Against the papers' formulas written out (V1 eq. 4, V2 eq. 2)."""
    torch.manual_seed(0)
    mix, x = kind(8, 2, 3), torch.randn(2, 5, 9, 8)
    for parameter in mix.parameters():
        nn.init.normal_(parameter, std=0.5)
    apart = swin.APART * (torch.rand(5, 1, 9, 9) < 0.2)
    qkv = F.linear(x, mix.qkv.weight, mix.qkv.bias).view(2, 5, 9, 3, 2, 4)
    q, k, v = (qkv[:, :, :, i].transpose(2, 3) for i in range(3))
    if kind is swin.Cosine:
        k = k - mix.qkv.bias.view(3, 2, 1, 4)[1]
        norms = q.norm(dim=-1)[..., None] * k.norm(dim=-1)[..., None, :]
        logits = q @ k.transpose(-1, -2) / norms * mix.sharp.exp().clamp(max=100)
    else:
        logits = q @ k.transpose(-1, -2) / 4**0.5
    logits = logits + mix.bias() + apart
    want = mix.out((logits.softmax(-1) @ v).transpose(2, 3).reshape(2, 5, 9, 8))
    torch.testing.assert_close(mix(x, apart), want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [swin.Table, swin.Curve])
def test_the_bias_depends_on_the_relative_place_alone(kind):
    torch.manual_seed(0)
    bias = kind(4, 3)()
    assert bias.shape == (3, 16, 16)
    place = bias.view(3, 4, 4, 4, 4)
    torch.testing.assert_close(place[:, 1, 1, 2, 3], place[:, 0, 0, 1, 2])
    torch.testing.assert_close(place[:, 3, 3, 0, 1], place[:, 3, 2, 0, 0])
    assert not torch.equal(place[:, 0, 0, 1, 2], place[:, 0, 0, 2, 1])


def test_merging_keeps_every_pixel_and_pads_odd_maps():
    x = torch.randn(2, 5, 4, 3)
    joined = swin.Neighbours()(x)
    assert joined.shape == (2, 3, 2, 12)
    torch.testing.assert_close(joined.sum(), x.sum())
    assert torch.equal(joined[0, 1, 0], torch.cat([x[0, 2, 0], x[0, 3, 0], x[0, 2, 1], x[0, 3, 1]]))


def test_swin_v2_g_is_transformers_count_and_the_keys_bias():
    spec = swin.FAMILY["swin_v2_g"]
    of_key = sum(depth * (spec.width << i) for i, depth in enumerate(spec.depths))
    assert NETS["swin_v2_g"].params - of_key == 3_001_912_008


def test_relative_attention_is_softmax_of_logits_plus_the_table():
    """CoAtNet's eq. 3 place by place; on another map the table keeps its middle and its corners."""
    torch.manual_seed(0)
    mix, x = coatnet.RelativeAttention(6, 8, 2, 3), torch.randn(1, 6, 3, 3)
    nn.init.normal_(mix.table)
    q, k, v = mix.qkv(x.flatten(2).transpose(1, 2)).view(9, 3, 2, 4).permute(1, 2, 0, 3)
    logits = q @ k.transpose(1, 2) / 2
    for i in range(9):
        for j in range(9):
            logits[:, i, j] += mix.table[:, i // 3 - j // 3 + 2, i % 3 - j % 3 + 2]
    want = mix.out((logits.softmax(2) @ v).transpose(0, 1).reshape(9, 8)).T.view(1, 8, 3, 3)
    torch.testing.assert_close(mix(x), want, atol=1e-5, rtol=1e-4)
    other = mix.bias(5, 4).view(2, 5, 4, 5, 4)
    torch.testing.assert_close(other[:, 2, 1, 2, 1], mix.table[:, 2, 2])
    torch.testing.assert_close(other[:, 4, 0, 0, 3], mix.table[:, 4, 0])


def test_coatnets_are_as_large_as_the_paper_says():
    """In millions, table 3 to 5; 3 and 5 are given there with the tables of a larger picture."""
    said = {0: 25, 1: 42, 2: 75, 4: 275, 6: 1470, 7: 2440}
    for i, millions in said.items():
        digits = min(len(str(millions)), 3)  # that the paper gives
        assert float(f"{NETS[f'coatnet_{i}'].params / 1e6:.{digits}g}") == millions


def test_drop_path_keeps_the_mean_drops_whole_samples_and_rests_in_eval():
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    out = drop(x)
    per_sample = out.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    kept = (per_sample[:, 0] > 0).float().mean().item()
    assert abs(kept - 0.75) < 4 * (0.25 * 0.75 / 4000) ** 0.5
    torch.testing.assert_close(per_sample.max(), torch.tensor(1 / 0.75))
    assert torch.equal(drop.eval()(x), x)
    rates = [m.p for m in NETS["swin_t"].build(2).modules() if isinstance(m, DropPath)]
    assert (rates[0], rates[-1]) == (0.0, 0.2)
    assert all(a <= b for a, b in pairwise(rates))
    assert rising(0.5, 1) == [0.0]
