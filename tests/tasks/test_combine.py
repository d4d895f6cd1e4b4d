"""`lineside combine`: what the combinations answer, who may be combined, and that only calibrate decides."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load as load_tensors

from lineside.bundle import export, folder
from lineside.bundle.ensemble import Ensemble
from lineside.bundle.export import Trained
from lineside.bundle.folder import open_bundle
from lineside.bundle.made_from import split_of
from lineside.bundle.manifest import ENSEMBLE
from lineside.bundle.model import load
from lineside.bundle.parity import scores
from lineside.bundle.verify import verify
from lineside.cli.main import main
from lineside.data import picture
from lineside.data.doctor import check
from lineside.data.read import read
from lineside.data.split import Split, split
from lineside.errors import SettingsError
from lineside.evidence.calibration import calibrated_nll, temperature
from lineside.evidence.intervals import clopper_pearson
from lineside.evidence.paired import difference, mcnemar
from lineside.ledger.onnx_file import cost_of_model
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from lineside.tasks.classify import fit
from lineside.tasks.classify.combine import combine
from lineside.tasks.classify.decode import verdicts
from lineside.tasks.classify.gain import GAIN, gain
from lineside.tasks.classify.ingredients import ingredients, promise_of
from lineside.tasks.classify.promise import Promise
from lineside.tasks.classify.soup import greedy, mean_of
from tests.learn import shapes

ROW = NETS["lenet5"]
PROMISE = Promise(("disc",), 0.3)


def trained(parts: Split, source: Path, seed: int) -> Trained:
    """LeNet-5 as drawn, its last layer fitted by least squares to half of train, which half says the seed."""
    torch.manual_seed(0)
    net, before = ROW.make(3).eval(), Input(ROW.size_px, ROW.mean, ROW.std)
    train = list(parts.of("train"))[seed::2]
    body = torch.nn.Sequential(*net[:-1], *net[-1][:-1])
    with torch.inference_mode():
        x = torch.cat([body(before(torch.from_numpy(picture.load(p.path))[None])) for p in train]).double()
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    wanted = 4.0 * torch.eye(3, dtype=torch.float64)[[shapes.KINDS.index(p.label) for p in train]]
    weight = torch.linalg.solve(x.T @ x + 1e-2 * torch.eye(x.shape[1]), x.T @ wanted)
    with torch.no_grad():
        net[-1][-1].weight.copy_(weight[:-1].T)
        net[-1][-1].bias.copy_(weight[-1])
    calibrate = parts.of("calibrate")
    labels = np.array([shapes.KINDS.index(p.label) for p in calibrate])
    logits = fit.reference_logits(before, net, [p.path for p in calibrate], lambda *_: None)
    heat = temperature(logits, labels)
    logits = (logits / np.float32(heat)).astype(np.float32)
    return Trained(
        net=net,
        name="lenet5",
        pool_power=1.0,
        input=before,
        classes=shapes.KINDS,
        accept=PROMISE.accept,
        temperature=heat,
        recipe={"net": "lenet5", "weights": "default", "seed": 0, "rate": 0.1 * seed},
        source=str(source),
        split=parts,
        seen_width_px=(32, 32),
        seen_height_px=(32, 32),
        logits=logits,
        operating_point=fit.operating_point(logits, labels, [None] * len(labels), shapes.KINDS, PROMISE),
        metrics={"calibrate top-1": clopper_pearson(int((logits.argmax(1) == labels).sum()), len(labels))},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """data/, and a.bundle and b.bundle made of it: one start, other pictures learnt."""
    where = tmp_path_factory.mktemp("combine")
    data = shapes.write(where / "data", each=60)
    parts = split(check(read(str(data)), workers=1), seed=0, shares=(0.4, 0.3, 0.3))
    for seed, name in enumerate(("a", "b")):
        one = trained(parts, data, seed)
        decide = verdicts(one.classes, one.accept, one.operating_point)
        export.write(one, where / f"{name}.bundle", decide=decide, threads=1)
    return where


@pytest.fixture
def two(place, tmp_path) -> list[Path]:
    """Copies of both bundles that a test may spoil, the better first."""
    copies = [folder.pack(place / f"{name}.bundle", tmp_path / f"{name}.bundle") for name in ("a", "b")]
    return [one.path for one in ingredients(copies)]


def twin(bundle: Path, path: Path) -> Path:
    """The same net in a graph of other bytes: what two trainings that ended alike would give."""
    folder.pack(bundle, path)
    graph = onnx.load_model_from_string(open_bundle(bundle).read("model.onnx"))
    graph.doc_string = path.name
    folder.replace(path, {"model.onnx": graph.SerializeToString()}, lambda now: now)
    return path


def command(capsys, paths, data, target, how, *more) -> tuple[int, dict]:
    code = main(["combine", *map(str, paths), str(data), "-o", str(target), "--how", how, *map(str, more), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_pictures(place: Path) -> list[Path]:
    return [p.path for p in split_of(open_bundle(place / "a.bundle"), place / "data").of("test")]


test_pictures.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def together(place) -> Path:
    """The ensemble of both."""
    combine([place / "a.bundle", place / "b.bundle"], str(place / "data"), place / "ensemble.bundle", "ensemble")
    return place / "ensemble.bundle"


def test_an_ensemble_is_a_bundle_like_any_other(together, place, tmp_path, capsys):
    manifest = open_bundle(together).manifest
    assert manifest.net == ENSEMBLE
    assert [one.net for one in manifest.members] == ["lenet5", "lenet5"]
    assert {one.made_from for one in manifest.members} == {open_bundle(place / f"{n}.bundle").sha256 for n in "ab"}
    assert all(one.ok for one in verify(together))
    copy = folder.pack(together, tmp_path / "copy.bundle")
    assert main(["evaluate", str(copy), str(place / "data"), "--json"]) in (0, 1)
    said = json.loads(capsys.readouterr().out)
    assert said["looks"] == 2
    again, first = load(copy).manifest.metrics, manifest.metrics
    assert again["test top-1"] == first["test top-1"]
    assert again[GAIN] == first[GAIN]
    assert "ensemble of lenet5, 32 px; lenet5, 32 px" in open_bundle(copy).read("report.html").decode()
    net, _ = export.rebuild(together)
    assert isinstance(net, Ensemble)
    pixels = picture.load(test_pictures(place)[0])[None]
    rebuilt = export.reference(net, export.front(manifest), manifest.temperature)
    np.testing.assert_allclose(rebuilt(pixels), load(together).infer(pixels), atol=2e-5)


def test_an_ensemble_answers_with_the_mean_of_its_members_scores(together, place):
    made, members = load(together), [load(place / f"{name}.bundle") for name in "ab"]
    for path in test_pictures(place)[:10]:
        pixels = picture.load(path)[None]
        mean = np.mean([scores(one.infer(pixels)) for one in members], axis=0)
        np.testing.assert_allclose(scores(made.manifest.temperature * made.infer(pixels)), mean, atol=2e-5)


def test_an_ensembles_cost_is_that_of_its_graph(together, place, capsys):
    assert main(["cost", str(together), str(place / "a.bundle"), "lenet5", "--json"]) == 0
    both, one, net = json.loads(capsys.readouterr().out)
    graph = open_bundle(together).read("model.onnx")
    assert both["macs"] == cost_of_model(graph, "both", (32, 32)).macs > 1.5 * one["macs"]
    assert "ensemble of lenet5, 32 px; lenet5, 32 px, 3 classes" in both["facts"][0]
    assert [found["net"] for found in (both, one, net)] == ["ensemble.bundle", "a.bundle", "lenet5"]  # told apart
    assert main(["cost", str(together), "--measure"]) == 2
    assert "name the bundles that this ensemble was made of" in capsys.readouterr().err


def test_an_ensemble_is_not_explained_but_its_bundles_are(together, place, tmp_path, capsys):
    one = str(test_pictures(place)[0])
    assert main(["explain", str(together), one, "-o", str(tmp_path / "out")]) == 4
    said = capsys.readouterr().err
    assert "is an ensemble of lenet5, 32 px; lenet5, 32 px" in said
    assert "explain the bundles that it was made of" in said


def test_copies_of_one_bundle_answer_as_one(two, place, tmp_path):
    one, other = load(two[0]), tmp_path / "copies.bundle"
    copies = [twin(two[0], tmp_path / f"twin{i}.bundle") for i in range(2)]
    done = combine([two[0], *copies], str(place / "data"), other, "ensemble")
    many = load(other)
    for path in test_pictures(place):
        pixels = picture.load(path)[None]
        np.testing.assert_allclose(scores(many.infer(pixels)), scores(one.infer(pixels)), atol=1e-4)
    a, b = one.manifest.operating_point, many.manifest.operating_point
    assert (a.escapes, a.n_bad, a.hold_rate, a.overkill) == (b.escapes, b.n_bad, b.hold_rate, b.overkill)
    assert b.accept_at == pytest.approx(a.accept_at, abs=1e-3)
    assert (done.gain.won, done.gain.lost, done.gain.difference.value) == (0, 0, 0.0)


def test_a_soup_of_equal_weights_is_that_net(two, place, tmp_path):
    done = combine(
        [two[0], twin(two[0], tmp_path / "twin.bundle")], str(place / "data"), tmp_path / "soup.bundle", "soup"
    )
    assert [row.used for row in done.rows] == [True, True, True]
    before, after = (load_tensors(open_bundle(p).read("weights.safetensors")) for p in (two[0], done.path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert open_bundle(two[0]).read("model.onnx") == open_bundle(done.path).read("model.onnx")
    assert done.manifest.operating_point == load(two[0]).manifest.operating_point


def test_a_soup_is_one_net_and_not_worse_than_the_best_on_calibrate(two, place, tmp_path):
    done = combine(two[::-1], str(place / "data"), tmp_path / "soup.bundle", "soup")  # the worse named first
    manifest = done.manifest
    assert (manifest.net, manifest.members) == ("lenet5", ())
    assert [row.name for row in done.rows[:2]] == [str(path) for path in two]
    assert done.rows[0].used
    assert ("alone" in done.sentence()) == (not done.rows[1].used)
    assert done.rows[2].calibrate_nll <= done.rows[0].calibrate_nll <= done.rows[1].calibrate_nll
    assert [one["used"] for one in manifest.recipe["soup"]] == [row.used for row in done.rows[:2]]
    assert all(one.ok for one in verify(done.path))
    states = [load_tensors(open_bundle(p).read("weights.safetensors")) for p in two]
    found = load_tensors(open_bundle(done.path).read("weights.safetensors"))
    expected = mean_of([state for state, row in zip(states, done.rows, strict=False) if row.used])
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_a_soup_can_be_an_ingredient(two, place, tmp_path):
    data = str(place / "data")
    combine(two, data, tmp_path / "soup.bundle", "soup")
    done = combine([tmp_path / "soup.bundle", two[1]], data, tmp_path / "again.bundle", "soup")
    assert done.rows[-1].calibrate_nll <= min(row.calibrate_nll for row in done.rows[:2])


# The greedy rule on nets of one weight w: calibrate has two pictures of class 0 and their logits are as `of` says.


def ask_by(of):
    """Each state's logits on two pictures of class 0, which get surer with of(w); and what was asked, in order."""
    asked = []

    def ask(state):
        w = float(state["w"])
        asked.append(w)
        return np.array([[of(w), 0.0], [0.0, 1.0]])

    return ask, asked


def states(*values: float):
    return [{"w": torch.tensor([value]), "n": torch.tensor(i)} for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "used", "asked"),
    [
        ((0.0, 1.0, -1.0), (True, False, False), [0.0, 0.5, -0.5]),  # best at 0: nothing helps
        ((1.0, -1.0, 9.0), (True, True, False), [1.0, 0.0, 3.0]),  # the mean of two is the best
        ((0.0, 0.0, 0.0), (True, True, True), [0.0, 0.0, 0.0]),  # not worse is enough
        ((1.0, 3.0, -1.0), (True, False, True), [1.0, 2.0, 0.0]),  # the third is tried with the first alone
    ],
)
def test_greedily_a_net_is_added_if_the_mean_is_not_worse(values, used, asked):
    ask, order = ask_by(lambda w: 1.0 - w * w)
    soup = greedy(states(*values), ask, np.array([0, 0]))
    assert (soup.used, order) == (used, asked)
    kept = [value for value, is_in in zip(values, used, strict=True) if is_in]
    assert float(soup.state["w"]) == pytest.approx(np.mean(kept))
    assert int(soup.state["n"]) == 0  # counters are the first's
    assert soup.nll == calibrated_nll(soup.logits, np.array([0, 0]), np.ones(2))


def test_a_mean_whose_answers_are_not_finite_is_not_taken():
    ask, _ = ask_by(lambda w: 1.0 if w == 1.0 else float("nan"))
    assert greedy(states(1.0, 2.0), ask, np.array([0, 0])).used == (True, False)


def test_the_gain_is_over_the_best_on_calibrate_and_told_picture_by_picture(together, place, two, tmp_path, capsys):
    code, said = command(capsys, two[::-1], place / "data", tmp_path / "c.bundle", "ensemble")
    assert code == 0
    assert said["gain"]["over"] == said["bundles"][0]["name"] == str(two[0])
    paths = test_pictures(place)
    truth = np.array([shapes.KINDS.index(path.parent.name) for path in paths])
    right = [
        np.array([load(one).infer(picture.load(path)[None])[0].argmax() for path in paths]) == truth
        for one in (two[0], tmp_path / "c.bundle")
    ]
    won, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    assert (said["gain"]["won"], said["gain"]["lost"]) == (won, lost)
    assert said["gain"]["p_value"] == mcnemar(lost, won)
    exact = difference(lost, won, len(paths))
    assert said["gain"]["difference"]["value"] == exact.value
    assert said["gain"]["difference"]["low"] <= exact.low < exact.high <= said["gain"]["difference"]["high"]
    assert said["pictures"]["test"] == len(paths)
    assert said["combined"]["test_top1"]["value"] == right[1].mean()
    assert said["bundles"][0]["test_top1"]["value"] == right[0].mean()
    assert all(0 < row["median_ms"] <= row["p95_ms"] for row in (*said["bundles"], said["combined"]))
    assert open_bundle(tmp_path / "c.bundle").manifest.metrics[GAIN].value == exact.value


def test_test_decides_nothing(place, two, tmp_path):
    """With other test pictures: the same graph, thresholds and order."""
    shapes.write(tmp_path / "other", each=5, seed=99)
    first = combine(two, str(place / "data"), tmp_path / "1.bundle", "ensemble")
    second = combine(two, str(tmp_path / "other"), tmp_path / "2.bundle", "ensemble")
    assert second.gain.difference.n == 15
    assert first.manifest.files["model.onnx"] == second.manifest.files["model.onnx"]
    assert first.manifest.operating_point == second.manifest.operating_point
    assert [row.calibrate_nll for row in first.rows] == [row.calibrate_nll for row in second.rows]


def test_the_bundles_stay_as_they_are_and_their_looks_count(place, two, tmp_path):
    folder.replace(two[1], {}, lambda now: replace(now, evaluations=3))
    before = [open_bundle(path).sha256 for path in two]
    done = combine(two, str(place / "data"), tmp_path / "c.bundle", "ensemble")
    assert [open_bundle(path).sha256 for path in two] == before
    assert done.manifest.evaluations == 4
    again = combine(two, str(place / "data"), tmp_path / "c.bundle", "ensemble")
    assert again.manifest.evaluations == 5, "the same pictures were looked at again"


def test_data_that_was_moved_is_found_by_content(place, two, tmp_path):
    moved = Path(shutil.copytree(place / "data", tmp_path / "moved"))
    for path in two:
        folder.replace(path, {}, lambda now: replace(now, data=replace(now.data, root=str(tmp_path / "gone"))))
    done = combine(two, str(moved), tmp_path / "c.bundle", "ensemble")
    assert done.manifest.data.root == str(moved)
    for one in moved.rglob("*.png"):
        one.rename(one.with_name(f"x{one.name}"))
    code = main(["combine", *map(str, two), str(moved), "-o", str(tmp_path / "d.bundle"), "--how", "ensemble"])
    assert code == 3
    assert not (tmp_path / "d.bundle").exists()


def test_the_promise_is_the_strictest_or_as_asked(two, place, tmp_path):
    def stricter(now):
        return replace(now, operating_point=replace(now.operating_point, max_escape=0.2, confidence=0.9))

    folder.replace(two[1], {}, stricter)
    found = ingredients(two)
    assert promise_of(found, None) == Promise(("disc",), 0.2, 0.95)
    assert promise_of(found, 0.4) == Promise(("disc",), 0.4, 0.95)
    done = combine(two, str(place / "data"), tmp_path / "c.bundle", "soup", max_escape=0.4)
    assert done.manifest.operating_point.max_escape == 0.4


def test_bundles_that_only_sort_make_one_that_sorts(two, place, tmp_path, capsys):
    for path in two:
        folder.replace(path, {}, lambda now: replace(now, accept=(), operating_point=None))
    code, said = command(capsys, two, place / "data", tmp_path / "c.bundle", "ensemble")
    assert (code, said["operating_point"], said["escape"]) == (0, None, None)
    with pytest.raises(SettingsError, match="they only sort"):
        combine(two, str(place / "data"), tmp_path / "d.bundle", "ensemble", max_escape=0.1)


def other_split(now_split: bytes) -> bytes:
    """One train picture has become test, as under another seed."""
    return now_split.replace(b"train,", b"test,", 1)


@pytest.mark.parametrize(
    ("how", "spoil", "code", "sentence"),
    [
        (
            "ensemble",
            lambda now: replace(now, accept=("square",)),
            2,
            "accepted classes are square, those of .* disc; bundles that are combined must have the same",
        ),
        ("soup", lambda now: replace(now, net="resnet18"), 2, "net resnet18.*lenet5|net lenet5.*resnet18"),
        ("soup", lambda now: replace(now, recipe=now.recipe | {"seed": 7}), 2, "first weights drawn with seed"),
        ("soup", lambda now: replace(now, recipe={}), 2, "does not record the weights that it began with"),
        (
            "soup",
            lambda now: replace(now, input=replace(now.input, size_px=40)),
            2,
            "size .* px, .*: .* px; a soup is the mean .* make an ensemble: --how ensemble",
        ),
        ("soup", lambda now: replace(now, pool_power=3.0), 2, "pool_power"),
    ],
)
def test_what_does_not_belong_together_is_refused(how, spoil, code, sentence, place, two, tmp_path, capsys):
    folder.replace(two[1], {}, spoil)
    refused(two, place / "data", tmp_path / "c.bundle", how, code, sentence, capsys)


def refused(paths, data, target, how, code, sentence, capsys) -> None:
    import re

    assert main(["combine", *map(str, paths), str(data), "-o", str(target), "--how", how]) == code
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(sentence, said), said
    assert "Traceback" not in said
    assert not target.exists() or target in paths


@pytest.mark.parametrize("how", ["ensemble", "soup"])
def test_bundles_of_another_split_are_refused(how, place, two, tmp_path, capsys):
    folder.replace(two[1], {"split.csv": other_split(open_bundle(two[1]).read("split.csv"))}, lambda now: now)
    sentence = "was not trained on the split of .*: 1 pictures trained the one and .* the same seed"
    refused(two, place / "data", tmp_path / "c.bundle", how, 2, sentence, capsys)


@pytest.mark.parametrize("file", ["weights.safetensors", "calibrate.csv", "model.onnx"])
def test_a_damaged_bundle_is_refused(file, place, two, tmp_path, capsys):
    data = bytearray((two[1] / file).read_bytes())
    data[-20] ^= 1
    (two[1] / file).write_bytes(data)
    target = tmp_path / "c.bundle"
    assert main(["combine", *map(str, two), str(place / "data"), "-o", str(target), "--how", "ensemble"]) == 4
    assert f"{two[1]}: {file}: was changed or damaged" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize("how", ["ensemble", "soup"])
def test_one_model_twice_is_refused_by_its_path_and_by_what_it_holds(how, place, two, tmp_path, capsys):
    data, target = place / "data", tmp_path / "c.bundle"
    refused([*two, two[0]], data, target, how, 2, f"{two[0]}: is named twice; a model gains nothing by itself", capsys)
    link = tmp_path / "link"
    link.symlink_to(two[1])
    refused([*two, link], data, target, how, 2, f"{link}: is named twice", capsys)
    copy = folder.pack(two[0], tmp_path / "copy.zip")
    refused([two[0], copy], data, target, how, 2, f"{copy}: holds the same model as {two[0]}; .* differently", capsys)
    folder.replace(copy, {}, lambda now: replace(now, evaluations=now.evaluations + 1))  # its own hash is another now
    refused([two[0], copy], data, target, how, 2, f"{copy}: holds the same model as {two[0]}", capsys)


def test_an_ensemble_of_an_ensemble_is_refused(together, place, two, tmp_path, capsys):
    sentence = "is an ensemble of .*; name the bundles that it was made of"
    refused([together, two[0]], place / "data", tmp_path / "c.bundle", "ensemble", 2, sentence, capsys)


def test_the_place_is_looked_at_before_the_work(place, two, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    data = place / "data"
    for target, code, sentence in [
        (two[1], 2, "is one of the bundles that are combined"),
        (tmp_path / "gone" / "c.bundle", 4, "there is no folder"),
    ]:
        refused(two, data, target, "ensemble", code, sentence, capsys)
    assert main(["combine", *map(str, two), str(data), "-o", str(tmp_path / "mine"), "--how", "soup"]) == 4
    assert "not a bundle; it is left alone" in capsys.readouterr().err
    refused(two[:1], data, tmp_path / "c.bundle", "soup", 2, "takes two bundles or more", capsys)


def test_a_gain_says_whether_it_is_one():
    before = np.zeros(200, bool)
    after = before.copy()
    after[:40] = True
    rng = np.random.default_rng(0)
    assert (
        gain("a", before, after, rng=rng)
        .sentence()
        .endswith("40 of 200 pictures won, 0 lost, p = 1.8e-12 (McNemar): a gain")
    )
    assert gain("a", after, before, rng=rng).sentence().endswith("a LOSS")
    after[3:] = False
    assert gain("a", before, after, rng=rng).sentence().endswith("neither a gain nor a loss is shown")


def test_where_all_wins_are_one_lot_the_interval_knows():
    before, lots = np.zeros(200, bool), np.repeat(np.arange(20), 10)
    after = lots == 3
    alone, tied = (gain("a", before, after, rng=np.random.default_rng(0), groups=g).difference for g in (None, lots))
    assert alone.low > 0
    assert tied.low <= 0
    assert tied.high >= alone.high


def test_where_no_picture_differs_lots_are_the_witnesses():
    right, lots = np.ones(200, bool), np.repeat(np.arange(20), 10)
    found = gain("a", right, right, rng=np.random.default_rng(0), groups=lots).difference
    assert found.high == difference(0, 0, 20).high
    assert -found.low == found.high < 0.2
