"""The verb from end to end on a bundle with a net set by hand, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from lineside import settings
from lineside.bundle import folder as bundles
from lineside.bundle.manifest import FORMAT, TASK, Data, Input, Manifest, Served
from lineside.cli.main import main
from lineside.errors import SettingsError
from lineside.explain import features, first_layer, heat
from lineside.explain.explain import explain, summary
from lineside.explain.subject import is_net, subject
from lineside.nets.catalog import NETS
from lineside.nets.parts import seq

FILES = ("weights.safetensors", "model.onnx", "split.csv", "calibrate.csv", "parity.json", "samples/samples.json")


def files_of(net: nn.Module) -> dict[str, bytes]:
    return {**dict.fromkeys(FILES, b"{}"), "weights.safetensors": save(net.state_dict())}


def manifest(net: str, size_px: int, classes: tuple[str, ...]) -> Manifest:
    return Manifest(
        format=FORMAT,
        task=TASK,
        created="2026-11-22T12:00:00Z",
        classes=classes,
        accept=(),
        input=Input(size_px, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 8, (32, 64), (32, 64)),
        net=net,
        temperature=1.0,
        served=(Served("onnxruntime", "float32", "model.onnx"),),
        data=Data("made", "made", {"calibrate": dict.fromkeys(classes, 1)}, "0" * 64),
        files=dict.fromkeys(FILES, "0" * 64),
        operating_point=None,
        metrics={},
        recipe={},
        versions={"lineside": "0"},
    )


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return NETS["resnet20"].build(3).eval()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, net) -> Path:
    """A bundle of an untrained net: explain reads the manifest and the weights, and nothing else."""
    path = tmp_path_factory.mktemp("explain") / "a b.bundle"
    bundles.write(path, files_of(net), manifest("resnet20", 32, ("<b>bad", "fair", "gut")))
    return path


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "<i>part 1.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_it_writes_maps_filters_and_strips_and_one_page_that_needs_nothing_else(bundle, picture, tmp_path):
    grey = tmp_path / "grey.png"
    Image.fromarray(np.arange(40 * 33, dtype=np.uint8).reshape(40, 33)).save(grey)
    written = explain(subject(bundle), [picture, grey], tmp_path / "out")
    found = {p.name for p in (tmp_path / "out").iterdir()}
    stages = ("stem", "stage1", "stage2", "stage3")
    for stem in ("01-<i>part 1", "02-grey"):
        assert {f"{stem}.map-stage3.png", f"{stem}.map-stage2.png"} <= found
        assert {f"{stem}.features-{stage}.png" for stage in stages} <= found
    assert {"filters.png", "index.html"} <= found
    with Image.open(tmp_path / "out" / "01-<i>part 1.map-stage3.png") as laid:
        assert laid.size == (60, 48)
        assert laid.mode == "RGB"
    page = written.page.read_text("utf-8")
    assert "<i>part" not in page
    assert "&lt;i&gt;part 1.png" in page
    assert "<b>bad" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png;base64,") == 1 + 2 * (3 + len(stages))
    (one, _), _ = written.pictures
    assert sum(score for _, score in one.scores) == pytest.approx(1, abs=1e-5)
    assert one.category == one.scores[0][0]
    assert len(list(summary(written))) == 2


def test_scores_are_the_nets(bundle, picture, net, tmp_path):
    from lineside.data.picture import load
    from lineside.nets.input import Input as Prepare

    written = explain(subject(bundle), [picture], tmp_path / "out")
    with torch.no_grad():
        x = Prepare(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))(torch.from_numpy(load(picture))[None])
        expected = net(x).softmax(1)[0]
    assert dict(written.pictures[0][0].scores) == pytest.approx(
        dict(zip(("<b>bad", "fair", "gut"), expected.tolist(), strict=True)), abs=1e-5
    )


def test_class_and_stage_can_be_chosen_and_the_answer_repeats(bundle, picture, tmp_path):
    first, again = (
        explain(subject(bundle), [picture], tmp_path / name, category="gut", stage="stage1").pictures[0][0]
        for name in "ab"
    )
    assert first.category == "gut"
    assert [m.stage for m, _, _ in first.maps] == ["stage1"]
    assert first.maps[0][2] == again.maps[0][2]
    assert np.array_equal(first.maps[0][1], again.maps[0][1])


def test_what_is_wrong_is_said(bundle, picture, tmp_path):
    with pytest.raises(SettingsError, match=r"class 'gutt' is not in .*a b\.bundle; did you mean gut\?"):
        explain(subject(bundle), [picture], tmp_path / "out", category="gutt")
    with pytest.raises(SettingsError, match=r"class 'x' is not in .*; its classes: <b>bad, fair, gut"):
        explain(subject(bundle), [picture], tmp_path / "out", category="x")
    with pytest.raises(SettingsError, match=r"stage 'stage7' is not in this net; did you mean stage"):
        explain(subject(bundle), [picture], tmp_path / "out", stage="stage7")
    text = tmp_path / "notes.txt"
    text.write_text("not a picture")
    with pytest.raises(SettingsError, match=r"notes\.txt/out: can not be written \(.*\); name another folder with -o"):
        explain(subject(bundle), [picture], text / "out")


def test_a_picture_below_the_bundles_least_side_is_refused(bundle, tmp_path, net):
    one = manifest("resnet20", 32, ("a", "b", "c"))
    coarse = replace(one, input=replace(one.input, min_side_px=20))
    bundles.write(tmp_path / "coarse.bundle", files_of(net), coarse)
    Image.new("RGB", (60, 19)).save(tmp_path / "small.png")
    written = explain(subject(tmp_path / "coarse.bundle"), [tmp_path / "small.png"], tmp_path / "out")
    small = tmp_path / "small.png"
    assert written.refused[0].startswith(f"{small}: its shorter side is 19 px, the bundle asks 20; give the picture as")


def test_what_can_not_be_read_is_listed_and_the_others_are_explained(bundle, picture, tmp_path, capsys):
    text, gone, out = tmp_path / "<b>.txt", tmp_path / "gone.png", tmp_path / "out"
    text.write_text("not a picture")
    assert main(["explain", str(bundle), *map(str, (text, picture, gone)), "-o", str(out)]) == 3
    answer, err = capsys.readouterr()
    assert f"{picture}: " in answer
    assert f"page: {out / 'index.html'}" in answer
    for said in (
        "2 of 3 pictures not explained:",
        f"  {text}: begins with b'not a pi', which is none of JPEG",
        f"  {gone}: can not be read (No such file or directory); check that it is there",
    ):
        assert said in err
    page = (out / "index.html").read_text()
    assert f"{gone}: can not be read" in page
    assert "&lt;b&gt;.txt: begins with" in page
    assert len(list(out.glob("01-*.map-*.png"))) == 2
    assert main(["explain", str(bundle), str(gone), str(picture), "-o", str(out), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert ([row["image"] for row in found["images"]], len(found["refused"])) == ([str(picture)], 1)


def test_a_page_of_somebody_else_is_left_alone(bundle, picture, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("notes")
    with pytest.raises(SettingsError, match=r"index\.html: is there already and does not begin with '<!doctype html'"):
        explain(subject(bundle), [picture], tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_picture_of_somebody_else_is_left_alone(bundle, picture, tmp_path):
    written = explain(subject(bundle), [picture], tmp_path / "out")
    mine = written.pictures[0][1][0]
    explain(subject(bundle), [picture], tmp_path / "out")  # its own it may replace
    Image.new("RGB", (9, 9)).save(mine)
    before = mine.read_bytes()
    with pytest.raises(SettingsError, match="is there already, and not from `lineside explain`"):
        explain(subject(bundle), [picture], tmp_path / "out")
    assert mine.read_bytes() == before


def test_the_verb(bundle, picture, tmp_path, capsys):
    assert main(["explain", str(bundle), str(picture), "-o", str(tmp_path / "o"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"page", "first_layer", "images", "refused"}
    assert set(told["images"][0]["scores"]) == {"<b>bad", "fair", "gut"}
    assert [m["stage"] for m in told["images"][0]["maps"]] == ["stage3", "stage2"]
    assert all(Path(path).exists() for path in told["images"][0]["files"])
    assert main(["explain", str(bundle), str(picture)]) == 0
    assert (bundle.parent / "a b.bundle.explain" / "index.html").exists()
    assert "page: " in capsys.readouterr().out
    assert main(["explain", str(tmp_path), str(picture)]) == 4
    assert main(["explain", str(bundle), str(bundle / "manifest.json")]) == 3
    assert main(["explain", str(bundle), str(picture), "--stage", "head"]) == 2


def test_a_bundle_named_by_a_dot_is_explained_beside_it_and_nothing_goes_into_it(bundle, picture, monkeypatch, capsys):
    monkeypatch.chdir(bundle)
    assert main(["explain", ".", str(picture)]) == 0
    assert "<title>a b.bundle: what" in (bundle.parent / "a b.bundle.explain" / "index.html").read_text("utf-8")
    assert main(["explain", ".", str(picture), "-o", "here"]) == 4
    assert "here: is inside the bundle ., which holds only its own files" in capsys.readouterr().err
    bundles.open_bundle(bundle)


def test_a_bundle_of_another_task_is_refused(bundle, picture, tmp_path, capsys):
    values = settings.plain(manifest("resnet20", 32, ("a", "b")))
    other = tmp_path / "other.bundle"
    other.mkdir()
    for path in bundle.iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    (other / "manifest.json").write_text(json.dumps({**values, "task": "detect"}))
    assert main(["explain", str(other), str(picture)]) == 4
    assert "detect" in capsys.readouterr().err


FIRST = {  # net: filters, side, input channels
    "resnet18": (64, 7, 3),
    "resnet20": (16, 3, 3),
    "efficientnet_lite0": (32, 3, 3),
    "lenet5": (6, 5, 1),
    "lenet5_1998": (6, 5, 1),
    "alexnet": (64, 11, 3),
    "alexnet_deck": (96, 11, 3),
    "zfnet": (96, 7, 3),
    "googlenet": (64, 7, 3),
    "inception_v3": (32, 3, 3),
    "densenet121": (64, 7, 3),
}


@pytest.mark.parametrize("name", NETS)
def test_every_net_has_a_first_layer_that_sees_the_picture(name):
    """The first stage's first convolution, of the picture's channels or its luma; or a template a class."""
    with torch.device("meta"):
        net = NETS[name].build(4)
    conv = first_layer.first_conv(net)
    if conv is None:
        assert name == "linear"
        return
    assert conv in list(net.get_submodule("stem").modules())
    assert conv is next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    if name in FIRST:
        assert (conv.out_channels, conv.kernel_size[0], conv.in_channels) == FIRST[name]


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "lenet5"])
def test_every_filter_is_in_the_picture_once(name):
    count, side, channels = FIRST[name]
    net = NETS[name].build(2)
    first = first_layer.first_layer(net)
    tiles = first.tiles
    assert (first.kind, first.side_px, first.channels) == ("filters", side, channels)
    assert tiles.shape == (count, side, side, 3)
    assert (tiles.reshape(count, -1).min(1) == 0).all()
    assert (tiles.reshape(count, -1).max(1) == 255).all()
    conv = first_layer.first_conv(net)
    assert conv is not None
    if channels == 3:  # RGB order, place by place
        greatest = conv.weight.permute(0, 2, 3, 1).reshape(count, -1).argmax(1).numpy()
        assert (tiles.reshape(count, -1)[np.arange(count), greatest] == 255).all()
    sheet = first_layer.picture(first)
    zoom = -(-first.tile_px // side)
    paper = (sheet == first_layer.PAPER).all(2)
    columns = 1 + int(paper.all(0).reshape(-1)[1:-1].sum() // first_layer.GAP_PX)
    rows = 1 + int(paper.all(1).reshape(-1)[1:-1].sum() // first_layer.GAP_PX)
    assert (rows - 1) * columns < count <= rows * columns
    assert np.array_equal(sheet[:zoom, :zoom], np.broadcast_to(tiles[0, 0, 0], (zoom, zoom, 3)))


def test_a_filter_without_any_weight_is_grey():
    net = NETS["lenet5"].build(2)
    conv = first_layer.first_conv(net)
    assert conv is not None
    nn.init.zeros_(conv.weight)
    assert set(first_layer.first_layer(net).tiles.flatten().tolist()) == {128}


def linear_with(colours: dict[int, tuple[float, float, float]], classes: int) -> nn.Sequential:
    """A linear classifier whose templates are flat, of these RGB weights; the others' are zero."""
    net = NETS["linear"].build(classes).eval()
    fc = net.get_submodule("head.fc")
    assert isinstance(fc, nn.Linear)
    nn.init.zeros_(fc.weight)
    with torch.no_grad():
        for row, colour in colours.items():
            fc.weight[row] = torch.tensor(colour)[:, None].expand(3, 1024).flatten()
    return net


def test_the_template_of_a_class_that_is_blue_is_blue():
    """And what all classes share is not drawn, as it moves no answer."""
    net = linear_with({0: (-0.5, -0.5, 1.0), 1: (0.5, 0.5, -1.0)}, 3)
    first = first_layer.first_layer(net)
    assert (first.kind, first.tiles.shape) == ("templates", (3, 32, 32, 3))
    assert (first.tiles[0] == (64, 64, 255)).all()
    assert (first.tiles[1] == (191, 191, 0)).all()
    assert (first.tiles[2] == 128).all()
    with torch.no_grad():
        net.get_submodule("head.fc").weight.add_(7.0)  # pyright: ignore
    assert np.array_equal(first_layer.first_layer(net).tiles, first.tiles)


def test_templates_are_on_the_page_with_their_classes(picture, tmp_path):
    classes = ("<b>bad", "fair", "gut")
    bundles.write(tmp_path / "t.bundle", files_of(linear_with({1: (0, 0, 1.0)}, 3)), manifest("linear", 32, classes))
    written = explain(subject(tmp_path / "t.bundle"), [picture], tmp_path / "out")
    assert written.first.name == "templates.png"
    with Image.open(written.first) as sheet:
        assert sheet.size == (3 * 128 + 2 * 4, 128)
        assert sheet.getpixel((132 + 60, 60)) == (128, 128, 255)
    page = written.page.read_text("utf-8")
    assert "<figcaption>&lt;b&gt;bad</figcaption>" in page
    assert page.count('alt="Template of ') == 3
    assert "filters of" not in page


def test_a_net_that_sees_no_pixels_is_told_from_one_that_does():
    with pytest.raises(SettingsError, match="first layer does not see pixels in rows and columns"):
        first_layer.first_layer(seq(stem=seq(same=nn.Identity()), head=seq(fc=nn.Linear(100, 2))))


def test_a_strip_shows_the_channels_that_vary_most_and_never_more_than_there_are():
    maps = torch.zeros(1, 12, 5, 7)
    maps[0, 3, 2, 2], maps[0, 9, 0, 0] = 10.0, 20.0
    found = features.strip("stage1", maps)
    assert found.shown[:2] == (9, 3)
    assert len(found.shown) == features.CHANNELS
    assert found.picture.shape == (112, 8 * 112 + 7 * 4, 3)
    assert features.strip("stem", torch.rand(1, 3, 4, 4)).picture.shape == (112, 3 * 112 + 2 * 4, 3)
    tokens = torch.cat([torch.full((1, 1, 12), 99.0), maps[..., :5].flatten(2).transpose(1, 2)], 1)
    assert features.strip("stage1", tokens).side_px == (5, 5)
    assert features.strip("stage1", tokens).shown == features.strip("stage1", maps[..., :5]).shown
    assert np.array_equal(found.picture[0, 0], heat.colours(np.array([[1.0]]))[0, 0])


def test_the_overlay_colours_where_the_map_is_hot_and_nowhere_else():
    picture = np.full((40, 60, 3), 100, np.uint8)
    values = np.full((4, 6), -1.0)
    assert np.array_equal(heat.overlay(picture, values), picture)
    values[1, 4] = 2.0
    laid = heat.overlay(picture, values)
    moved = np.abs(laid.astype(int) - picture).sum(2)
    assert (moved.argmax() // 60 // 10, moved.argmax() % 60 // 10) == (1, 4)
    assert not moved[:, :30].any()


def test_a_net_of_the_catalog_shows_its_published_filters_and_answers_by_number(picture, tmp_path, monkeypatch, capsys):
    """efficientnet_lite0's weights come with a package, so nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINESIDE_OFFLINE", "1")
    assert main(["explain", "efficientnet_lite0"]) == 0
    out = tmp_path / "efficientnet_lite0.explain"
    assert {path.name for path in out.iterdir()} == {"filters.png", "index.html"}
    page = (out / "index.html").read_text("utf-8")
    assert "weights imagenet1k" in page
    assert "How to read this" not in page
    assert "first layer: efficientnet_lite0.explain/filters.png" in capsys.readouterr().out
    written = explain(subject("efficientnet_lite0"), [picture], tmp_path / "with", category="207", stage="stage5")
    assert written.pictures[0][0].category == "207"
    assert len(written.pictures[0][0].scores) == 1000


def test_what_is_neither_bundle_nor_net_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "resnet20"]) == 2
    assert "lineside train DATA -o BUNDLE --net resnet20, then name the bundle" in capsys.readouterr().err
    assert main(["explain", "efficientnet_lit0"]) == 4
    assert "or did you mean the net efficientnet_lite0?" in capsys.readouterr().err
    assert main(["explain", "gone.bundle"]) == 4
    assert "did you mean" not in capsys.readouterr().err


def test_a_bundle_that_is_called_like_a_net_is_the_bundle(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_net("resnet20")
    (tmp_path / "resnet20").symlink_to(bundle)
    assert not is_net("resnet20")
    assert subject("resnet20").classes == ("<b>bad", "fair", "gut")
