"""The ledger gives the deck's tables, row by row and exactly; the tables are recomputed ones, their totals re-added."""

import csv
from pathlib import Path

import pytest
import torch

from lineside.ledger.convention import CONVENTIONS, DIFFERENCES, differences
from lineside.ledger.cost import cost
from lineside.ledger.layers import lines
from lineside.nets.catalog import NETS
from tests.ledger import deck_nets

HERE = Path(__file__).parent / "deck"


def table(name: str) -> tuple[list[dict], dict]:
    with (HERE / f"{name}.csv").open() as file:
        *rows, total = csv.DictReader(file)
    assert total["layer"] == "total"
    return rows, total


def numbers(text: str) -> int | None:
    return int(text) if text else None


def said(line) -> tuple:
    """A line in the table's columns, from c_in to ops."""
    row = line.row
    mapped = len(row.input) == 3
    return (
        row.input[0],
        row.input[1] if mapped else None,
        row.filters or None,
        *(values[0] if values else None for values in (row.kernel, row.stride, row.pad)),
        "ceil" if row.ceil else "",
        row.output[0],
        row.output[1] if len(row.output) == 3 else None,
        f"{line.memory / 1024:.3f}",
        line.params,
        row.macs + row.pool_ops,
    )


def printed(row: dict) -> tuple:
    return (
        *(numbers(row[c]) for c in ("c_in", "side", "filters", "kernel", "stride", "pad")),
        row["round"],
        *(numbers(row[c]) for c in ("c_out", "side_out")),
        row["memory_kb"],
        *(int(row[c]) for c in ("params", "ops")),
    )


@pytest.mark.parametrize("name", deck_nets.TABLES)
def test_every_row_and_the_totals_are_the_tables(name):
    cin, side, spec = deck_nets.TABLES[name]
    found = cost(deck_nets.net(cin, spec, side, torch.nn.MaxPool2d), (1, cin, side, side))
    ours = lines(found, CONVENTIONS["deck"])
    rows, total = table(name)
    assert [said(line) for line in ours] == [printed(row) for row in rows]
    assert sum(line.params for line in ours) == int(total["params"]) == found.params
    assert sum(line.row.macs + line.row.pool_ops for line in ours) == int(total["ops"]) == found.macs + found.pool_ops
    assert f"{sum(line.memory for line in ours) / 1024:.3f}" == total["memory_kb"]
    # and the printed rows add up to the printed totals
    assert sum(int(row["params"]) for row in rows) == int(total["params"])
    assert sum(int(row["ops"]) for row in rows) == int(total["ops"])
    assert abs(sum(float(row["memory_kb"]) for row in rows) - float(total["memory_kb"])) < 0.0005 * len(rows)


@pytest.mark.parametrize("name", deck_nets.TABLES)
def test_receptive_fields_are_the_tables(name):
    cin, side, spec = deck_nets.TABLES[name]
    found = cost(deck_nets.net(cin, spec, side), (1, cin, side, side))
    known = 0
    for line, row in zip(lines(found, CONVENTIONS["deck"]), table(name)[0], strict=True):
        if row["field"] and row["layer"] != "flatten":
            reach = line.row.field[0]
            assert (reach.size, reach.jump) == (int(row["field"]), int(row["jump"])), row["layer"]
            known += 1
    assert known >= 5


def test_lenet_averages_as_well():
    """Average pools cost what max pools of the same window do."""
    cin, side, spec = deck_nets.TABLES["lenet5_modern"]
    most, mean = (
        cost(deck_nets.net(cin, spec, side, kind), (1, 1, 32, 32)) for kind in (torch.nn.MaxPool2d, torch.nn.AvgPool2d)
    )
    assert (most.pool_ops, most.macs) == (mean.pool_ops, mean.macs) == (6_304, 416_520)


@pytest.mark.parametrize("name", deck_nets.TOTALS)
def test_totals_without_a_table(name):
    spec, params, macs, pool_ops, kb = deck_nets.TOTALS[name]
    found = cost(deck_nets.net(3, spec, 224), (1, 3, 224, 224))
    assert (found.params, found.macs, found.pool_ops) == (params, macs, pool_ops)
    assert round(sum(line.memory for line in lines(found, CONVENTIONS["deck"])) / 1024, 1) == kb


# params; MACs (stride in the 3x3); MACs (in the first 1x1); pool operations; KB (conv, max pool)
RESNETS = {
    "resnet18": (11_689_512, 1_814_073_344, 1_814_073_344, 1_831_424, 10_486),
    "resnet34": (21_797_672, 3_663_761_408, 3_663_761_408, 1_831_424, 15_386),
    "resnet50": (25_557_032, 4_089_184_256, 3_857_973_248, 1_906_688, 44_198),
    "resnet101": (44_549_160, 7_801_405_440, 7_570_194_432, 1_906_688, 64_190),
    "resnet152": (60_192_808, 11_513_626_624, 11_282_415_616, 1_906_688, 88_886),
    "resnet200": (64_673_832, 15_007_481_856, 14_776_270_848, 1_906_688, 126_518),
}


@pytest.mark.parametrize("name", RESNETS)
def test_residual_nets_are_the_table(name):
    params, macs, paper, pool_ops, kb = RESNETS[name]
    with torch.device("meta"):
        net = NETS[name].build(1000)
    found = cost(net, (1, 3, 224, 224), name=name)
    assert (found.params, found.macs, found.pool_ops) == (params, macs, pool_ops)
    shown = lines(found, CONVENTIONS["deck"])
    assert sum(line.memory for line in shown if line.row.kind == "conv" or line.row.path == "stem.pool") == kb * 1024
    if name not in ("resnet18", "resnet34"):
        (first_1x1,) = DIFFERENCES["resnet50"]
        assert first_1x1.figure(found) == paper
    if f"{name}_paper" in NETS:
        assert NETS[f"{name}_paper"].macs == paper


# Figures that others print: (net, what it says, what the ledger's rows make of it). E-numbers are the deck's errata.
SAID = {
    ("vgg16", "13.6 GFLOP"): (13_620_576_256, 13.6e9),  # E24
    ("vgg16", "7485 MFLOP down to 28 x 28"): (7_485_456_384, 7485e6),  # E22
    ("alexnet_deck", "60 M parameters"): (60_965_224, 61e6),  # E43
    ("alexnet_deck", "conv1: 227 px, pad 2, 55 x 55"): (1_139_124_224, 1139e6),  # E14
    ("resnet18", "1.8 GFLOP"): (1_794_805_760, 1.8e9),
    ("resnet34", "3.6 GFLOP"): (3_644_493_824, 3.6e9),  # E30
    ("resnet50", "3.8 GFLOP"): (3_857_973_248, 3.86e9),
    ("googlenet_paper", "418 MFLOP in the stem"): (480_836_608, 481e6),  # E21
}


@pytest.mark.parametrize(("name", "says"), SAID)
def test_why_figures_differ_is_computed(name, says):
    literal = {"vgg16": "vgg16", "alexnet_deck": "alexnet_227_pad_0"}
    if name in literal:
        cin, side, spec = deck_nets.TABLES[literal[name]]
        net = deck_nets.net(cin, spec, side)
    elif name == "googlenet_paper":
        cin, side, spec = deck_nets.TABLES["googlenet"]
        net = deck_nets.net(cin, spec, side)
        whole, stem = torch.nn.Sequential(), 7  # five layers, two of them with a ReLU of their own
        whole.stem, whole.rest = torch.nn.Sequential(*net[: stem + 1]), torch.nn.Sequential(*net[stem + 1 :])
        net = whole
    else:
        side = NETS[name].size_px
        with torch.device("meta"):
            net = NETS[name].build(1000)
    (difference,) = (d for d in DIFFERENCES[name] if d.says == says)
    figure, rounded = SAID[name, says]
    assert difference.figure(cost(net, (1, 3, side, side))) == figure
    assert abs(figure / rounded - 1) < 0.015


def test_pools_that_round_up_are_named():
    """E26: the stem of GoogLeNet has 56 and 28 places only if its pools round up."""
    cin, side, spec = deck_nets.TABLES["googlenet"]
    found = cost(deck_nets.net(cin, spec, side), (1, cin, side, side))
    (sentence,) = differences(found, CONVENTIONS["deck"])
    assert (
        sentence == "4 pools round up as Caffe's do; rounding down, 3 would give 55x55 instead of 56x56"
        or "55x55" in sentence
    )
    other = cost(deck_nets.net(3, deck_nets.vgg(1, 1, 1, 1, 1), 224), (1, 3, 224, 224))
    assert differences(other, CONVENTIONS["deck"]) == []
