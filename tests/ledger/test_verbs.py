"""`lineside cost`, `nets` and `recommend` as one types them."""

import csv
import json
import os
import re
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from lineside.cli.main import main
from lineside.ledger import charts, measure, recommend, subject, table
from lineside.ledger.convention import CONVENTIONS
from lineside.ledger.cost import cost
from lineside.ledger.layers import collapse, lines, path
from lineside.ledger.sheet import sheet
from lineside.nets import listing
from lineside.nets.catalog import NETS, SIGNALS
from lineside.nets.listing import Listed, nets


def said(capsys, *argv: str) -> str:
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def test_the_printed_table_adds_up_to_its_printed_totals(capsys):
    """Each line as often as it repeats; the printed figures have three places."""
    text = said(capsys, "cost", "resnet50")
    head, *body = [line for line in text.splitlines() if re.match(r"layer|stem|stage|head|total", line)]
    at = {name: head.index(name) + len(name) for name in ("KB", "k params", "MMAC")}
    summed = dict.fromkeys(at, 0.0)
    for line in body[:-1]:
        times = int(m[1]) if (m := re.search(r" ×(\d+) ", line)) else 1
        for name, end in at.items():
            cell = line[:end].split("  ")[-1].strip() if len(line) >= end and line[end - 1] != " " else ""
            summed[name] += times * float(cell.replace(",", "") or 0)
    for name, end in at.items():
        total = float(body[-1][:end].split("  ")[-1].replace(",", ""))
        assert summed[name] == pytest.approx(total, abs=0.0005 * 60), name
    assert "parameters   25,557,032" in text
    assert "×5" in text


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_csv_and_json_are_exact(capsys, tmp_path, convention):
    (found,) = json.loads(
        said(capsys, "cost", "mobilenet_v2", "--json", "--csv", str(tmp_path / "c.csv"), "--convention", convention)
    )
    assert sum(layer["params"] for layer in found["layers"]) == found["params"] == NETS["mobilenet_v2"].params
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"] == NETS["mobilenet_v2"].macs
    assert sum(layer["memory_bytes"] for layer in found["layers"]) == found["memory_bytes"]
    assert sum(layer["share_of_macs"] for layer in found["layers"]) == pytest.approx(1)
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert [int(row["macs"]) for row in rows] == [layer["macs"] for layer in found["layers"]]
    assert rows[0]["kernel"] == "3x3"
    assert rows[-1]["field_px"] == "allxall"


@pytest.mark.parametrize("flag", ["--html", "--csv"])
def test_a_place_that_takes_no_file_is_a_wrong_flag_told_after_the_table(flag, capsys, tmp_path):
    place = tmp_path / "nowhere" / "cost"
    assert main(["cost", "lenet5", flag, str(place)]) == 2
    out, err = capsys.readouterr()
    assert "parameters" in out
    assert f"{place}: can not be written (No such file or directory); choose another place, or make room" in err


@pytest.mark.parametrize("flag", ["--html", "--csv"])
def test_a_file_of_somebody_else_is_left_alone_and_its_own_of_before_replaced(flag, capsys, tmp_path):
    place = tmp_path / "cost"
    place.write_text("path,label\n")
    assert main(["cost", "lenet5", flag, str(place)]) == 2
    assert f"{place}: is there already and does not begin with" in capsys.readouterr().err
    assert place.read_text() == "path,label\n"
    place.write_text("")
    assert main(["cost", "lenet5", flag, str(place)]) == main(["cost", "lenet5", flag, str(place)]) == 0


def test_every_convention_says_what_it_is(capsys):
    texts = [said(capsys, "cost", "resnet34", "--convention", name) for name in CONVENTIONS]
    assert len(set(texts)) == 3
    assert "paper says 3.6 GFLOP: shortcuts of option A" in texts[1]
    assert all(f"memory ({name}):" in text for name, text in zip(CONVENTIONS, texts, strict=True))


def test_size_changes_macs_and_not_parameters(capsys):
    small, large = (json.loads(said(capsys, "cost", "resnet20", "--json", "--size", n))[0] for n in ("32", "64"))
    assert small["params"] == large["params"]
    assert large["layers"][0]["macs"] == 4 * small["layers"][0]["macs"]


@pytest.mark.parametrize("name", SIGNALS)
def test_a_net_of_signals_costs_what_its_row_says(name, capsys):
    """At its own samples, and at as many as one asks for."""
    own, half = (json.loads(said(capsys, "cost", name, "--json", *size))[0] for size in ((), ("--size", "256")))
    row = SIGNALS[name]
    assert own["inputs"] == [[1, row.channels, row.samples]]
    assert (own["params"], own["macs"]) == (row.params, row.macs)
    assert half["layers"][0]["macs"] * 2 == own["layers"][0]["macs"]


def test_repeats_are_of_whole_blocks():
    with torch.device("meta"):
        net = NETS["resnet50"].build(1000)
    groups = [g for g in collapse(lines(cost(net, (1, 3, 224, 224)), CONVENTIONS["deck"])) if g.times > 1]
    assert [g.times for g in groups] == [2, 3, 5, 2]
    for group in groups:
        assert [line.row.path.rsplit(".", 2)[1] for line in group.runs[0]] == ["c1", "c2", "c3"]
    assert path([run[0] for run in groups[2].runs]) == "stage3.1…5.add.body.c1.conv"


def test_what_is_no_net_says_so(capsys, tmp_path):
    for argv, sentence in (
        (["cost", "resnet81"], "net 'resnet81' is not known; did you mean resnet18?"),
        (["cost", str(tmp_path)], "is neither a bundle nor an .onnx file"),
        (["cost", "lenet5", "--size", "3"], "takes pictures of at least 32 px"),
        (["cost", "lenet5", "--size", "1000000000"], "there is no input of the shape"),
        (["cost", str(tmp_path / "gone.bundle")], "gone.bundle: there is no such file or folder"),
        (["nets", "nothing*"], "no net's name is like 'nothing*'; `lineside nets` lists all"),
        (["nets", "ResNet50"], "no net's name is like 'ResNet50'; did you mean resnet50?"),
    ):
        assert main(argv) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["cost", "lenet5", "--size", "wide"], ["nets", "--max-params", "many"]])
def test_a_number_that_is_none_is_refused_in_words(argv, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    assert re.search(r"expected a (whole )?number .*, got (wide|many)", capsys.readouterr().err)


def test_an_unread_parameter_is_in_the_total_and_named():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(3, 2)

        def forward(self, x):
            return self.used(x)

    net = Idle()
    text = table.text(sheet(cost(net, (1, 4)), "deck", net))
    assert "parameters   28" in text
    assert "not read   8: no operation uses idle.weight 6, idle.bias 2" in text


class Page(HTMLParser):
    """Tags and texts of a page, and what it would load."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts, self.loads = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_holds_everything_it_shows(capsys, tmp_path):
    text = said(capsys, "cost", "resnet18", "mobilenet_v2", "--html", str(tmp_path / "c.html"))
    assert "parameters, M" in text
    assert f"page: {tmp_path / 'c.html'}" in text
    page = Page((tmp_path / "c.html").read_text())
    assert page.loads == []
    assert "script" not in page.tags
    assert page.tags.count("svg") == 2 * 3 + 1
    assert {"11.690 M", "3.505 M", "1,814.1 M", "300.8 M"} <= set(page.texts)
    shown = lines(cost(NETS["resnet18"].build(1000), (1, 3, 224, 224)), CONVENTIONS["deck"])
    assert page.tags.count("rect") >= 3 * len(shown)


def test_one_net_has_its_three_charts_and_its_drawings(capsys, tmp_path):
    said(capsys, "cost", "lenet5", "--html", str(tmp_path / "c.html"))
    page = (tmp_path / "c.html").read_text()
    assert "What lenet5 costs" in page
    assert Page(page).tags.count("svg") == 3 + 1 + 1
    assert "<figcaption>the whole net</figcaption>" in page
    assert "stage1.conv: 6.250 KB" in page


def test_a_bundle_is_its_net_at_its_size(capsys, bundle):
    text = said(capsys, "cost", str(bundle))
    assert "made.bundle at 1×3×32×32" in text
    assert "lenet5, 4 classes, 32 px" in text
    assert "model.onnx on pictures of 20×18 px" in text
    assert f"parameters   {61_706 - 6 * 85:,}" in text


@pytest.fixture
def bundle(tmp_path):
    """A bundle whose manifest names lenet5, with a graph that is really its own."""
    from dataclasses import replace

    from lineside.bundle import folder
    from lineside.bundle.export import to_onnx
    from lineside.nets.input import Input
    from tests.line.tiny import write_bundle

    made = write_bundle(tmp_path / "made.bundle")
    row, old = NETS["lenet5"], folder.open_bundle(made).manifest
    graph = to_onnx(row.build(4), Input(32, row.mean, row.std), 1.0)
    folder.replace(
        made,
        {"model.onnx": graph},
        lambda m: replace(
            m,
            net="lenet5",
            classes=("a", "b", "c", "d"),
            accept=(),
            operating_point=None,
            input=replace(old.input, size_px=32, seen_width_px=(10, 20), seen_height_px=(10, 18)),
        ),
    )
    return made


def test_measured_times_are_shared_out_and_bounded(monkeypatch, capsys):
    monkeypatch.setattr(measure, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(measure, "GEMM", 64)
    monkeypatch.setattr(measure, "PASSES", 3)
    measure.peak.cache_clear()
    (found,) = json.loads(said(capsys, "cost", "lenet5", "--measure", "--json"))
    measure.peak.cache_clear()
    assert all(layer["ms"] > 0 for layer in found["layers"] if layer["macs"])
    assert all(layer["bound_ms"] > 0 for layer in found["layers"] if layer["macs"])
    assert found["time"]["macs_per_s"] > 0


def test_a_modules_own_time_is_without_its_children():
    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            return self.inner(x)

    clock = iter([0.0, 1.0, 4.0, 6.0])  # enter outer, enter inner, leave inner, leave outer
    net = Slow()
    measured = measure._own_ms(net, lambda: net(torch.zeros(1)), now=lambda: next(clock))
    assert measured == {"inner": 3000.0, "": 3000.0}


def test_nets_are_listed_filtered_and_sorted(capsys):
    names = [one["name"] for one in json.loads(said(capsys, "nets", "--json"))]
    assert names == sorted([*NETS, *SIGNALS])
    by_macs = [one["macs"] for one in json.loads(said(capsys, "nets", "--json", "--sort", "macs"))]
    assert by_macs == sorted(by_macs)
    small = json.loads(said(capsys, "nets", "--json", "--max-params", "5", "--max-mmac", "350", "--min-top1", "70"))
    assert "mobilenet_v2" in [one["name"] for one in small]
    assert all(one["params"] <= 5e6 and one["macs"] <= 350e6 and one["top1"] >= 70 for one in small)
    assert {one["weights"] for one in json.loads(said(capsys, "nets", "--json", "--weights", "any"))} <= {
        "here",
        "download",
    }
    (one,) = json.loads(said(capsys, "nets", "resnet34", "--json"))
    row = NETS["resnet34"]
    assert (one["top1"], one["top5"], one["params"]) == (row.weights[0].top1, row.weights[0].top5, row.params)
    assert one["stages"] == ["stem", "stage1", "stage2", "stage3", "stage4"]
    text = said(capsys, "nets", "resnet34")
    assert "resnet34 IMAGENET1K_V1" in text
    assert "\n1 net. " in text
    assert "\n2 nets. " in said(capsys, "nets", "resnet18", "resnet34")
    assert "  512 samples  " in said(capsys, "nets", "inceptiontime")
    assert main(["nets", "resnet34", "--max-params", "1"]) == 1


def test_an_accuracy_of_another_size_than_the_multiply_adds_is_said(capsys, tmp_path):
    """CoAtNet-7 has 462 G at the 224 px of its row, and its 90.88 % at 512 px."""
    text = said(capsys, "nets", "coatnet_7")
    assert "512 px" in text
    assert "MACs are at size, accuracy at the larger size that its source names" in text
    said(capsys, "cost", "lenet5", "--html", str(tmp_path / "c.html"))
    assert "reached their top-1 at a larger one" in (tmp_path / "c.html").read_text()


def test_a_net_that_the_memory_does_not_hold_is_not_measured(monkeypatch, capsys):
    monkeypatch.setattr(subject, "free_bytes", lambda: 10**6)
    assert main(["cost", "resnet18", "--measure"]) == 2
    assert "resnet18: --measure needs about 0.1 GB for its weights and maps, 0.0 GB are free" in capsys.readouterr().err
    assert main(["cost", "resnet18"]) == 0
    monkeypatch.undo()
    if free := subject.free_bytes():  # a kernel that says it says it in bytes here, not in its own KB
        assert 1e-3 < free / (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) <= 1


def listed(name: str, top1: float, macs: float, params: float = 4e6) -> Listed:
    rest = (int(params), int(macs), top1, None, "somebody", "download", ("stem",), "a paper")
    return Listed(name, "pictures", 224, *rest)


CATALOG = [  # the most accurate first, as nets() sorts them
    listed("vast", 90.0, 900e9, 2e9),
    listed("large", 80.0, 8e9),
    listed("middle", 77.0, 4e9),
    listed("small", 75.0, 500e6),
    listed("tiny", 74.5, 300e6),
    listed("least", 60.0, 40e6),
]
MS = {"large": 80.0, "middle": 30.0, "small": 12.0, "tiny": 9.0, "least": 2.0}


@pytest.fixture
def asked(monkeypatch):
    """What recommend times, in its order."""
    names: list[str] = []

    def nets(*, reads, max_params, max_macs, weights, sort):
        assert (reads, sort) == ("pictures", "top1")
        return [one for one in CATALOG if listing.fits(one, max_params, max_macs)]

    monkeypatch.setattr(recommend, "nets", nets)

    def ask(aim: str, peak_macs_per_s: float = 1e15, **budget):
        names.clear()

        def measured(one):
            names.append(one.name)
            return MS[one.name]

        answer = recommend.recommend(aim, measured, peak_macs_per_s, **budget)
        return (answer.chosen.net.name if answer.chosen else None), list(names), answer

    return ask


def test_accuracy_is_the_best_that_keeps_the_budget(asked):
    assert asked("accuracy")[0] == "large"
    assert asked("accuracy", max_latency_ms=50)[0] == "middle"
    assert asked("accuracy", max_macs=1e9)[0] == "small"
    assert asked("accuracy", max_macs=1e9, max_latency_ms=10)[0] == "tiny"


def test_mobile_is_the_fastest_that_is_close_to_the_best(asked):
    chosen, timed, _ = asked("mobile")
    assert (chosen, timed) == ("tiny", ["small", "tiny", "least"])
    assert asked("mobile", max_latency_ms=5)[0] == "least"


def test_no_more_nets_are_timed_than_asked(asked):
    assert asked("accuracy", most=1)[1] == ["large"]
    assert asked("accuracy", most=1, max_latency_ms=10)[1] == ["large", "middle", "small", "tiny"]


def test_what_multiplies_too_much_for_the_latency_is_not_timed_and_said(asked):
    """50 ms at twice 40 G a second are 4 G multiply-adds: the two largest can't, the third may."""
    chosen, timed, answer = asked("accuracy", peak_macs_per_s=40e9, max_latency_ms=50, most=1)
    assert (chosen, timed) == ("middle", ["middle"])
    assert "not timed: 2 of more than 4,000 M multiply-adds, which take more than 50 ms" in recommend.text(answer)
    assert asked("accuracy", peak_macs_per_s=1e9, most=1)[1] == ["large"]  # without a latency everything may be
    chosen, timed, answer = asked("accuracy", peak_macs_per_s=1.0, max_latency_ms=1)
    assert (chosen, timed, answer.sentence) == (None, [], "no net can answer within 1 ms here; give it more time")


def test_mobile_times_every_net_that_is_close_to_the_best(asked):
    """Or it could not say that the one it names is the fastest of them."""
    assert asked("mobile", most=1)[:2] == ("tiny", ["small", "tiny"])


def test_what_can_not_be_exported_is_not_timed_and_said(asked):
    answer = asked("accuracy")[2]
    assert (answer.timed[0].net.name, answer.timed[0].ms) == ("vast", None)
    assert "more than an ONNX file can hold" in recommend.text(answer)


def test_nothing_within_the_budget_is_a_sentence(asked):
    chosen, _, answer = asked("accuracy", max_latency_ms=1)
    assert chosen is None
    assert answer.sentence == "no net answers within 1 ms here; the fastest is least with 2.0 ms"
    assert "give it more room" in asked("accuracy", max_params=1)[2].sentence


def test_the_names_of_the_bubbles_cover_no_bubble_and_no_name():
    """Of the whole catalog; the ones that the page is about are always there, however close their neighbours."""
    every = nets()
    crowded = ["resnet50", "seresnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet161", "vmoe_15b"]
    svg = charts.bubbles(every, crowded)
    dots = {
        said: (float(x) - float(r), float(y) - float(r), float(x) + float(r), float(y) + float(r))
        for x, y, r, said in re.findall(r'<circle class="\w+" cx="(\S+)" cy="(\S+)" r="(\S+)"><title>(.*?):', svg)
    }
    written = {
        word: (float(x), float(y) - 10, float(x) + 7 * len(word), float(y) + 3)
        for x, y, word in re.findall(
            r'<text class="(?:named|tick)" x="(\S+)" y="(\S+)" text-anchor="start">(.*?)<', svg
        )
    }
    assert set(crowded) <= written.keys() <= dots.keys()
    assert len(dots) == sum(one.top1 is not None for one in every)
    assert len(written) > 30
    boxes = [*written.items(), *dots.items()]
    for i, (name, a) in enumerate(written.items()):
        for other, b in boxes[i + 1 :]:
            apart = max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]) > -0.2  # px: the SVG is rounded
            assert apart, (name, other)
