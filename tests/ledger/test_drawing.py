"""A part of a net as a picture: what feeds what, where it lies, what is written."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lineside.errors import SettingsError
from lineside.ledger import cost
from lineside.ledger.blocks import blocks
from lineside.ledger.boxes import Wiring
from lineside.ledger.drawing import draw, drawing
from lineside.ledger.labels import words
from lineside.ledger.layered import LANE, place
from lineside.ledger.page import render
from lineside.ledger.row import LAYERS, Cost
from lineside.ledger.subject import sheet_of
from lineside.ledger.wiring import under, wiring
from lineside.nets.catalog import NETS
from lineside.nets.parts import Concat, Residual, seq

SEEN = (  # a net of every kind of wiring
    *("lenet5_1998", "alexnet_towers", "googlenet_paper", "inception_v3", "inception_v4", "inception_resnet_v2"),
    *("resnet18", "resnet50", "resnet18_option_a", "plain20", "preact_resnet18", "resnext50_32x4d", "senet154"),
    *("densenet121", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v1_x1_0_g3", "shufflenet_v2_x0_5"),
    *("efficientnet_b0", "efficientnet_lite0", "nasnetamobile", "vit_tiny_patch16_224", "swin_t", "swin_v2_t"),
    *("coatnet_0", "vmoe_s_32_last2_e8"),
)
KNOWN: dict[str, Cost] = {}


def counted(name: str) -> Cost:
    if name not in KNOWN:
        row = NETS[name]
        with torch.device("meta"):
            net = row.build(row.classes)
        KNOWN[name] = cost(net, (1, 3, row.size_px, row.size_px), name=name)
    return KNOWN[name]


def of(net: nn.Module, *shapes: tuple[int, ...], prefix: str = "") -> Wiring:
    return wiring(cost(net, *shapes, name="net"), prefix)


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.arange(4.0) + 1


def joins(wired: Wiring, op: str) -> list[int]:
    return [i for i, node in enumerate(wired.nodes) if node.kind == "join" and node.row and node.row.op == op]


def fed_by(wired: Wiring, node: int) -> list[str]:
    """What feeds it: the last names of the paths, or "in"."""
    starts = [wired.nodes[e.start] for e in wired.into(node)]
    return [one.kind if one.row is None else one.path.rsplit(".", 1)[-1] for one in starts]


def test_a_residual_block_has_one_join_of_its_input_and_its_last_layer():
    wired = wiring(counted("resnet18"), "stage1.0")
    assert [node.kind for node in wired.nodes] == ["in", "layer", "layer", "join", "out"]
    (add,) = joins(wired, "add")
    starts = [wired.nodes[e.start] for e in wired.into(add)]
    assert [(one.kind, one.after) for one in starts] == [("in", []), ("layer", ["native_batch_norm"])]
    assert wired.nodes[add].after == ["relu"]
    assert wired.nodes[1].after == ["native_batch_norm", "relu"]
    whole = wiring(counted("resnet50"))
    assert len(joins(whole, "add")) == 16
    assert joins(wiring(counted("plain20")), "add") == []


@pytest.mark.parametrize(("stage", "layers"), [("stage1", 6), ("stage2", 12)])
def test_a_dense_block_has_a_connection_for_every_pair(stage, layers):
    """L (L + 1) / 2: layer l is fed by l tensors; behind the last, all L + 1 are joined."""
    wired = wiring(counted("densenet121"), stage)
    firsts = [
        i for i, n in enumerate(wired.nodes) if re.fullmatch(rf"{stage}\.layer\d+\.branches\.new\.c1\.conv", n.path)
    ]
    feeds = []
    for first in firsts:
        (edge,) = wired.into(first)
        feeds.append(len(wired.into(edge.start)) if wired.nodes[edge.start].kind == "join" else 1)
    assert feeds == list(range(1, layers + 1))
    assert sum(feeds) == layers * (layers + 1) // 2
    assert len(wired.into(joins(wired, "cat")[-1])) == layers + 1


def test_an_inception_module_joins_four_branches():
    wired = wiring(counted("googlenet_paper"), "stage1.inception3a")
    (join,) = joins(wired, "cat")
    assert len(wired.into(join)) == 4
    assert len(wired.out_of(0)) == 4
    assert wired.nodes[join].shape == (256, 28, 28)
    forks = wiring(counted("inception_v3"), "stage3.mixed7b")
    (join,) = joins(forks, "cat")  # what 1 x 3 and 3 x 1 put out is joined once, with the rest
    assert len(forks.into(join)) == 6


def test_a_gate_multiplies_what_it_was_computed_from():
    wired = wiring(counted("senet154"), "stage1.1")
    (gate,) = joins(wired, "mul")
    assert fed_by(wired, gate) == ["conv", "expand"]
    by = {wired.nodes[e.start].path.rsplit(".", 1)[-1]: wired.nodes[e.start] for e in wired.into(gate)}
    assert by["expand"].after == ["sigmoid"]
    assert (by["expand"].shape, by["conv"].shape) == ((256, 1, 1), (256, 56, 56))


def test_groups_strides_and_depthwise_are_written():
    assert "128 → 128, g=32" in drawing(counted("resnext50_32x4d"), "stage1.0")
    assert "256 → 256, /2, g=32" in drawing(counted("resnext50_32x4d"), "stage2.0")
    assert "g=" not in drawing(counted("resnet50"), "stage2.0")
    mobile = drawing(counted("mobilenet_v2"), "stage2.0")
    assert "3×3 depthwise" in mobile
    assert "ReLU6" in mobile
    assert "g=" not in mobile
    assert "18 → 6, g=6" in drawing(counted("lenet5_1998"))


def test_half_of_the_channels_pass_by():
    wired = wiring(counted("shufflenet_v2_x0_5"), "stage1.1")
    assert wired.nodes[0].shape == (48, 28, 28)
    assert [(e.shape, e.whole) for e in wired.out_of(0)] == [((24, 28, 28), False)] * 2
    assert "parts 24×28×28" in draw(wired, "unit")
    (shuffle,) = [n for n in wired.nodes if n.named]
    assert words(shuffle, []).lines == ("shuffle",)


def test_attention_takes_three_parts_of_one_tensor():
    wired = wiring(counted("vit_tiny_patch16_224"), "stage1.0")
    products = [i for i, n in enumerate(wired.nodes) if n.row is not None and n.row.kind == "matmul"]
    assert fed_by(wired, products[0]) == ["qkv", "qkv"]
    assert fed_by(wired, products[1]) == ["mix", "qkv"]
    assert wired.nodes[products[0]].after == ["_safe_softmax"]
    assert wired.nodes[wired.into(products[0])[0].start].before == ["native_layer_norm"]
    assert words(wired.nodes[products[0]], []).lines[1] == "3 × (197×64 · 64×197)"
    assert len(joins(wired, "add")) == 2


def test_learnt_places_are_added_to_the_product_and_shifts_are_shown():
    wired = wiring(counted("swin_t"), "stage1.block2")
    (learnt,) = [i for i, n in enumerate(wired.nodes) if n.kind == "learnt"]
    assert words(wired.nodes[learnt], []).lines == ("learnt", "507 numbers")
    (edge,) = wired.out_of(learnt)
    assert wired.nodes[edge.end].after == ["_safe_softmax"]
    assert [n.row.op for n in wired.nodes if n.row is not None].count("roll") == 2
    straight = wiring(counted("swin_t"), "stage1.block1")
    assert "roll" not in [n.row.op for n in straight.nodes if n.row is not None]
    curve = wiring(counted("swin_v2_t"), "stage1.block1")
    said = [words(n, []).lines[:2] for n in curve.nodes if n.constant]
    assert said == [("learnt", "3 numbers"), ("linear", "2 → 512"), ("linear", "512 → 3")]


def test_experts_are_fed_by_tokens_and_router():
    wired = wiring(counted("vmoe_s_32_last2_e8"), "stage3.1.think")
    experts = next(i for i, n in enumerate(wired.nodes) if n.row is not None and n.row.op == "bmm")
    assert fed_by(wired, experts) == ["norm", "score"]
    assert words(wired.nodes[experts], []).lines[:2] == ("linear", "8 × (512 → 2048)")
    (gates,) = joins(wired, "mul")
    assert sorted(fed_by(wired, gates)) == ["mlp", "score"]


@pytest.mark.parametrize("name", SEEN)
def test_every_layer_is_in_the_picture_once(name):
    """Of each block: its layers' multiply-adds add up, edges lead on, and nothing stands alone."""
    found = counted(name)
    drawn = blocks(found)
    assert drawn
    for one in drawn:
        wired, path = one.wired, one.paths[0]
        rows = [row for row in found.rows if under(row.path, path)]
        assert sum(n.row.macs for n in wired.nodes if n.row is not None) == sum(row.macs for row in rows)
        layers = [n.row for n in wired.nodes if n.row is not None and n.row.kind in LAYERS]
        assert sorted(map(repr, layers)) == sorted(repr(row) for row in rows if row.kind in LAYERS)
        assert all(e.start < e.end for e in wired.edges)
        for i, node in enumerate(wired.nodes):
            assert wired.into(i) or node.kind in ("in", "learnt") or node.constant, node
            assert wired.out_of(i) or node.kind == "out", node


@pytest.mark.parametrize("name", SEEN)
def test_every_picture_can_be_read(name):
    """XML with a title; all of it within its frame; no two words lie on each other."""
    for one in blocks(counted(name)):
        root = ElementTree.fromstring(draw(one.wired, f"{name} {one.paths[0]}"))
        width, height = (float(root.attrib[side]) for side in ("width", "height"))
        boxes = [_box(text) for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert len(boxes) >= 3
        for left, top, right, bottom, said in boxes:
            assert 0 <= left < right <= width + 1, said
            assert 0 <= top < bottom <= height + 1, said
        for a, b in combinations(boxes, 2):
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3], (one.paths[0], a, b)


def _box(text: ElementTree.Element) -> tuple[float, float, float, float, str]:
    """About where a word lies, px: left, top, right, bottom."""
    said, kind = text.text or "", text.attrib.get("class", "")
    x, y = float(text.attrib["x"]), float(text.attrib["y"])
    wide, tall = (5.3 if kind == "shape" else 6.0) * len(said), 9.0
    left = x if kind in ("shape", "folded left") else x - wide / 2
    return left, y - tall, left + wide, y + 1, said


@pytest.mark.parametrize("name", ["densenet121", "nasnetamobile", "inception_v3", "swin_v2_t"])
def test_no_edge_runs_through_a_box_and_no_boxes_overlap(name):
    for one in blocks(counted(name)):
        edges = [(e.start, e.end) for e in one.wired.edges]
        widths = [100.0] * len(one.wired.nodes)
        placed = place(widths, edges)
        assert placed == place(widths, edges)
        for (start, end), passes in zip(edges, placed.passes, strict=True):
            assert len(passes) == placed.layer[end] - placed.layer[start] - 1 >= 0
            for layer, x in enumerate(passes, placed.layer[start] + 1):
                beside = [placed.x[i] for i, at in enumerate(placed.layer) if at == layer]
                assert all(abs(x - other) >= 50 + LANE / 2 - 0.01 for other in beside)
        for a, b in combinations(range(len(widths)), 2):
            assert placed.layer[a] != placed.layer[b] or abs(placed.x[a] - placed.x[b]) >= 100


def test_what_feeds_late_is_placed_late_and_crossings_are_undone():
    placed = place([40, 40, 40, 40, 40], [(0, 1), (1, 2), (2, 4), (3, 4)], late=frozenset({3}))
    assert placed.layer == (0, 1, 2, 2, 3)
    crossed = place([40] * 4, [(0, 3), (1, 2)])
    assert (crossed.x[0] < crossed.x[1]) == (crossed.x[3] < crossed.x[2])


def test_in_place_activations_draw_the_same():
    def net(inplace: bool) -> nn.Sequential:
        body = seq(conv=nn.Conv2d(4, 4, 3, padding=1), bn=nn.BatchNorm2d(4))
        return seq(first=nn.Conv2d(3, 4, 1), add=Residual(body), act=nn.ReLU(inplace), last=nn.Conv2d(4, 2, 1))

    plain, inplace = (of(net(flag).eval(), (1, 3, 8, 8)) for flag in (False, True))
    assert draw(plain, "net") == draw(inplace, "net")
    assert [n.after for n in plain.nodes if n.kind == "join"] == [["relu"]]


def test_two_inputs_and_two_outputs_are_told_apart():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(1, 4, 1)

        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            x, y = self.a(x), self.b(y)
            return x + y, torch.cat([x, y], 1)

    wired = of(Both(), (1, 3, 8, 8), (1, 1, 8, 8))
    assert [n.shape for n in wired.nodes if n.kind == "in"] == [(3, 8, 8), (1, 8, 8)]
    assert [n.shape for n in wired.nodes if n.kind == "out"] == [(4, 8, 8), (8, 8, 8)]
    assert all(len(wired.into(i)) == 2 for i, n in enumerate(wired.nodes) if n.kind == "join")


def test_only_joins_along_one_axis_become_one():
    class Joins(nn.Module):
        def __init__(self, axis: int):
            super().__init__()
            self.a, self.b, self.c, self.axis = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 1), axis

        def forward(self, x: Tensor) -> Tensor:
            ab = torch.cat([self.a(x), self.b(x)], 1)
            return torch.cat([ab, self.c(x)], self.axis)

    assert len(joins(of(Joins(1), (1, 3, 8, 8)), "cat")) == 1
    across = of(Joins(2), (1, 3, 8, 8))
    assert [len(across.into(i)) for i in joins(across, "cat")] == [2, 2]


def test_what_is_computed_between_layers_is_passed_through_and_never_folded():
    """A norm spelt out in functions: no box of its own, no activation taken into a layer that it does not follow."""

    class Spelt(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(F.relu(x / x.norm(dim=1, keepdim=True)))

    wired = of(Spelt(), (1, 3, 8, 8))
    assert [n.path for n in wired.nodes if n.kind == "layer"] == ["first", "last"]
    assert all(n.after == n.before == [] for n in wired.nodes)
    assert fed_by(wired, 2) == ["first"]


def test_a_module_that_only_moves_is_named_by_its_name_and_learnt_scales_are_shown():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.by

    net = seq(conv=nn.Conv2d(3, 4, 1), scale=Scale(), up=nn.Upsample(scale_factor=2), last=nn.Conv2d(4, 2, 1))
    wired = of(net, (1, 3, 8, 8))
    assert [words(n, []).lines for n in wired.nodes if n.kind == "other"] == [("scale", "4 learnt"), ("up",)]


def test_a_module_of_two_inputs_is_not_one_box_and_a_number_is_no_name():
    class Fuse(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return F.relu(x + y)

    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fuse = nn.Conv2d(3, 3, 1), Fuse()

        def forward(self, x: Tensor) -> Tensor:
            return self.fuse(self.conv(x), x)

    (join,) = [n for n in of(Fused(), (1, 3, 8, 8)).nodes if n.kind == "join"]
    assert join.after == ["relu"]
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LocalResponseNorm(3), nn.PixelShuffle(2), nn.Conv2d(1, 1, 1))
    said = [words(n, []).lines[0] for n in of(net, (1, 3, 8, 8)).nodes if n.kind == "other"]
    assert said == ["module 1", "pixel shuffle"]
    inside = [words(n, []).lines[0] for n in of(seq(stem=net), (1, 3, 8, 8)).nodes if n.kind == "other"]
    assert inside[0] == "stem 1"


def test_a_net_of_concatenated_maps_in_either_form_draws_the_same_edges():
    """Joined step by step, or all at once from a list, as torchvision's DenseNet does."""

    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.ModuleList(nn.Conv2d(2 + 2 * i, 2, 1) for i in range(3))

        def forward(self, x: Tensor) -> Tensor:
            seen = [x]
            for conv in self.c:
                seen.append(conv(torch.cat(seen, 1)))
            return torch.cat(seen, 1)

    stepped = seq(**{f"c{i}": Concat(kept=nn.Identity(), new=nn.Conv2d(2 + 2 * i, 2, 1)) for i in range(3)})
    a, b = of(Listed(), (1, 2, 4, 4)), of(stepped, (1, 2, 4, 4))
    fed = [sorted(len(w.into(i)) for i in joins(w, "cat")) for w in (a, b)]
    assert fed == [[2, 3, 4], [2, 3, 4]]


def test_a_part_that_is_not_there_is_a_sentence():
    with pytest.raises(SettingsError, match=r"nothing runs under 'stage1\.9'; did you mean stage1\.\d\?"):
        drawing(counted("resnet18"), "stage1.9")
    with pytest.raises(SettingsError, match="nothing runs under 'x'; its parts: stem, stage1"):
        drawing(counted("resnet18"), "x")
    with pytest.raises(SettingsError, match="reads no tensor of the net's"):
        drawing(cost(seq(act=nn.Identity(), made=Constant()), (1, 4), name="net"), "made")


def test_a_file_of_its_own_has_its_style_and_a_page_has_it_once():
    alone, within = (drawing(counted("resnet18"), "stage1.0", alone=flag) for flag in (True, False))
    assert "prefers-color-scheme: dark" in alone
    assert "<style>" not in within
    page = render([sheet_of("resnet18", size_px=None, convention="deck", measured=False)])
    assert page.count('class="net"') == 4
    assert page.count(".net .sign {") == 1
    assert "of the same form: stage1.1, stage2.1, stage3.1, stage4.1 (5 in all)" in page
    two = [sheet_of(name, size_px=None, convention="deck", measured=False) for name in ("resnet18", "resnet34")]
    assert 'class="net"' not in render(two)


def test_blocks_of_one_form_are_drawn_once():
    drawn = {one.paths[0]: len(one.paths) for one in blocks(counted("senet154"))}
    assert drawn == {"stem": 1, "stage1.0": 1, "stage1.1": 46, "stage2.0": 3, "head": 1}
    assert [one.paths for one in blocks(counted("lenet5_1998"))] == [("",)]
    cells = [one.paths[0] for one in blocks(counted("nasnetamobile"))]
    assert cells[0] == "stage1.cells.0"
    assert "stage2.cells.0" in cells
    assert blocks(cost(nn.Linear(4, 2), (1, 4))) == []
