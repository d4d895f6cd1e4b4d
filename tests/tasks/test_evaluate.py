"""`lineside evaluate` on a bundle made by hand: who is left out, what is stored, what is refused."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineside.bundle import folder, parity, samples
from lineside.bundle.folder import open_bundle
from lineside.bundle.made_from import split_of
from lineside.bundle.manifest import Served
from lineside.bundle.model import load
from lineside.cli.main import main
from lineside.data import picture
from lineside.errors import BundleError, DataError, SettingsError
from lineside.evidence import report as reports
from lineside.tasks.classify.decode import decider
from lineside.tasks.classify.evaluate import evaluate, store
from lineside.tasks.classify.page import report

NEW = {"blue": 30, "green": 25, "red": 40}


def run(capsys, *flags: object) -> tuple[int, dict]:
    code = main(["evaluate", *map(str, flags), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_what_the_bundle_saw_is_left_out(bundle, colours):
    parts = split_of(open_bundle(bundle))
    e = evaluate(bundle, str(colours))
    assert e.score.n == len(parts.of("test")) == len(e.pictures)
    assert {p.name for p in e.pictures} == {p.name for p in parts.of("test")}
    assert e.unseen.trained_on == len(parts.of("train"))
    assert e.unseen.calibrated_on == len(parts.of("calibrate"))
    assert e.unseen.new == 0


def test_content_decides_not_names(bundle, colours, tmp_path):
    """Trained-on pictures under other names, in other folders, are still left out."""
    parts = split_of(open_bundle(bundle))
    for i, (part, one) in enumerate(zip(parts.part, parts.pictures, strict=True)):
        target = tmp_path / "renamed" / one.label / f"{'x' if part == 'test' else 'a'}{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(colours / one.name, target)
    e = evaluate(bundle, str(tmp_path / "renamed"))
    assert e.score.n == len(parts.of("test"))
    assert all("/x" in p.name for p in e.pictures)


def test_near_duplicates_of_what_it_saw_are_left_out(bundle, colours, make, tmp_path):
    data = make("new", NEW, seed=5)
    one = split_of(open_bundle(bundle)).of("train")[0]
    shutil.copy(colours / one.name, data / one.label / "seen.png")
    pixels = picture.load(colours / one.name)
    Image.fromarray(np.clip(pixels.astype(int) + 1, 0, 255).astype(np.uint8)).save(data / one.label / "nearly.png")
    e = evaluate(bundle, str(data))
    assert e.unseen.trained_on == 1
    assert e.unseen.nearly_seen == (f"{one.label}/nearly.png",)
    assert e.score.n == sum(NEW.values())


def test_parts_of_a_lot_that_trained_it_are_left_out(bundle, colours, make, tmp_path):
    data, one = make("new", NEW, seed=6), split_of(open_bundle(bundle)).of("train")[0]
    shutil.copy(colours / one.name, data / one.label / "seen.png")
    new = sorted(path for path in data.rglob("*.png") if path.name != "seen.png")
    lots = {data / one.label / "seen.png": "L1", new[0]: "L1", new[1]: "L2"}
    rows = [(path.relative_to(data), path.parent.name, lots.get(path, "")) for path in (*lots, *new[2:])]
    (data / "parts.csv").write_text("path,label,group\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    e = evaluate(bundle, str(data / "parts.csv"))
    assert e.unseen.trained_on == 1
    assert e.unseen.nearly_seen == (str(new[0].relative_to(data)),)
    assert e.score.n == sum(NEW.values()) - 1


def test_the_numbers_are_those_of_the_line(bundle, make):
    """Part by part through load and decider, as the line does it."""
    data = make("new", NEW, seed=6)
    e = evaluate(bundle, str(data))
    model = load(bundle)
    decide = decider(model.manifest.classes, model.manifest.accept, model.manifest.operating_point)
    for row, one in enumerate(e.pictures):
        decision = decide(model.infer(picture.load(one.path)[None])[0])
        assert decision.verdict == e.judged.verdicts[row]
    accepted = e.judged.verdicts == "accept"
    assert e.score.escape.value == accepted[~e.judged.is_good].mean()
    assert e.score.escape.n == NEW["red"]
    assert e.score.overkill.n == NEW["blue"] + NEW["green"]


def test_the_result_is_stored_and_the_look_is_counted(bundle, make, capsys):
    data = make("new", NEW, seed=7)
    for looks in (1, 2):
        code, said = run(capsys, bundle, data)
        assert code == 0
        assert said["looks"] == looks
        opened = open_bundle(bundle)
        assert opened.manifest.evaluations == looks
        assert opened.manifest.metrics["test escape"].value == said["metrics"]["test escape"]["value"]
        page = opened.read("report.html").decode()
        assert f"looked at {looks} time" in page
        assert said["report"] == str(bundle / "report.html")


def test_a_new_promise_gives_new_thresholds_from_calibrate_alone(bundle, make, capsys):
    before = load(bundle).manifest
    code, said = run(capsys, bundle, make("new", NEW, seed=8), "--max-escape", 0.2, "--confidence", 0.9)
    assert code == 0
    after = load(bundle).manifest.operating_point
    assert (after.max_escape, after.confidence) == (0.2, 0.9)
    assert after.accept_at <= before.operating_point.accept_at
    assert after.n_bad == before.operating_point.n_bad
    assert said["operating_point"]["accept_at"] == after.accept_at
    assert said["verdict"] == "shown"
    assert "This operating point replaces the bundle" in open_bundle(bundle).read("report.html").decode()


def row(precision) -> parity.Row:
    return parity.Row("onnxruntime", precision, 1, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, (), 1.0, 1.0, None)


@pytest.fixture
def two_engines(bundle, change) -> Path:
    """A bundle that runs another model, said to be int8."""
    keys = [samples.key("onnxruntime", precision) for precision in ("float32", "int8")]
    expected = [samples.Sample("samples/00.png", "x", "red", dict.fromkeys(keys, (0.0, 0.0, 1.0)))]
    files = {
        "model-int8.onnx": open_bundle(bundle).read("model.onnx"),
        "parity.json": parity.write_rows([row("float32"), row("int8")]),
        samples.EXPECTED: samples.write_expected(expected),
    }
    change(bundle, files, served=(Served("onnxruntime", "int8", "model-int8.onnx"), *load(bundle).manifest.served))
    return bundle


def test_with_a_new_operating_point_goes_what_was_proved_for_the_old_one(two_engines, make, capsys):
    """Nobody has looked which parts the int8 model lets escape at the new threshold."""
    data, float32 = make("new", NEW, seed=8), load(two_engines, precision="float32")
    assert evaluate(two_engines, str(data)).model.served.precision == "int8"
    e = evaluate(two_engines, str(data), max_escape=0.2)
    assert e.model.served == float32.served
    assert [one.precision for one in e.withdrawn] == ["int8"]

    assert main(["evaluate", str(two_engines), str(data), "--max-escape", "0.2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Parity of onnxruntime int8 was shown for the earlier one only, so it leaves the bundle" in said
    assert "Prove it again with: lineside export" in said
    assert "--engine onnxruntime --precision int8" in said
    opened = open_bundle(two_engines)
    assert opened.manifest.operating_point == e.point
    assert opened.manifest.served == (float32.served,)
    assert "model-int8.onnx" not in opened.manifest.files
    assert parity.read_rows(opened.read("parity.json"), "p") == (row("float32"),)
    (sample,) = samples.read_expected(opened.read(samples.EXPECTED), "s")
    assert list(sample.logits) == ["onnxruntime float32"]


def test_with_its_own_promise_a_bundle_keeps_its_engines(two_engines, make, capsys):
    served = load(two_engines).manifest.served
    assert run(capsys, two_engines, make("new", NEW, seed=8), "--max-escape", 0.05)[0] == 0
    assert load(two_engines).manifest.served == served


def test_without_the_float32_model_there_is_no_new_operating_point(two_engines, change, make):
    change(two_engines, served=load(two_engines).manifest.served[:1])
    with pytest.raises(BundleError, match=r"parity was never shown for onnxruntime float32.*lineside export"):
        evaluate(two_engines, str(make("new", NEW, seed=8)), max_escape=0.2)


def refused(capsys, bundle, data, promise) -> tuple[dict, str]:
    """What is said and reported of a new promise that is not stored; nothing but the look may be in the bundle."""
    before = open_bundle(bundle).manifest
    code, said = run(capsys, bundle, data, "--max-escape", promise)
    assert code == 1
    assert open_bundle(bundle).manifest == replace(before, evaluations=before.evaluations + 1)
    place = bundle.with_name("colour.bundle.report.html")
    assert said["report"] == str(place)
    return said, place.read_text("utf-8")


def test_a_promise_that_can_not_be_shown_is_an_honest_no(bundle, make, capsys):
    said, page = refused(capsys, bundle, make("new", NEW, seed=9), 0.001)
    assert said["verdict"] == "not shown"
    assert "more would show it (" in said["headline"]
    assert "not stored: the bundle keeps its own operating point: the new one is not shown" in page
    assert main(["evaluate", str(bundle), str(bundle.parent / "new"), "--max-escape", "0.001"]) == 1
    assert "(the bundle keeps its own operating point: the new one is not shown)" in capsys.readouterr().out


def test_a_confidence_that_can_not_be_shown_is_an_honest_no_too(bundle, make, capsys):
    code, said = run(capsys, bundle, make("new", NEW, seed=9), "--confidence", 0.999999)
    assert said["verdict"] == "not shown"
    assert code == 1


def test_the_bundles_own_promise_that_is_not_shown_is_a_no_to_who_asks_for_it(bundle, make, change, capsys):
    own = open_bundle(bundle).manifest.operating_point
    change(bundle, operating_point=evaluate(bundle, str(make("new", NEW, seed=9)), max_escape=0.001).point)
    data = str(make("other", {"blue": 6, "green": 6}, seed=33))
    code, said = run(capsys, bundle, data)
    assert (code, said["verdict"]) == (0, "not shown")
    code, said = run(capsys, bundle, data, "--max-escape", 0.001)
    assert (code, said["verdict"]) == (1, "not shown")
    code, said = run(capsys, bundle, data, "--max-escape", own.max_escape)
    assert (code, said["verdict"]) == (0, "shown")


def test_test_can_contradict_what_calibrate_showed(bundle, make, capsys):
    """Bad parts that look good: another kind of defect than calibrate had."""
    data = make("new", {"blue": 20, "red": 5}, seed=10)
    make("odd", {"blue": 60, "red": 1}, seed=11)
    for file in (data.parent / "odd" / "blue").iterdir():
        shutil.copy(file, data / "red" / file.name)
    code, said = run(capsys, bundle, data)
    assert code == 1
    assert said["verdict"] == "contradicted"
    assert "contradicted by test" in said["headline"]
    assert open_bundle(bundle).manifest.metrics["test escape"].n == 65
    said, page = refused(capsys, bundle, data, 0.2)
    assert said["verdict"] == "contradicted"
    assert "not stored: the bundle keeps its own operating point: the new one is contradicted by test" in page


def test_bad_parts_alone_can_be_evaluated(bundle, make, capsys):
    code, said = run(capsys, bundle, make("new", {"red": 50}, seed=12))
    assert code == 0
    assert said["metrics"]["test escape"]["n"] == 50
    assert said["metrics"]["test overkill"]["value"] is None
    page = open_bundle(bundle).read("report.html").decode()
    assert "There is no test picture of blue, green" in page


def test_nothing_new_is_refused(bundle, colours, tmp_path):
    parts = split_of(open_bundle(bundle))
    for one in (*parts.of("train"), *parts.of("calibrate")):
        (tmp_path / "old" / one.label).mkdir(parents=True, exist_ok=True)
        shutil.copy(colours / one.name, tmp_path / "old" / one.name)
    with pytest.raises(
        DataError, match=r"none of its \d+ pictures is new to the bundle: \d+ trained it, \d+ calibrated"
    ):
        evaluate(bundle, str(tmp_path / "old"))
    assert open_bundle(bundle).manifest.evaluations == 0


def test_an_unknown_class_is_refused(bundle, make):
    data = make("new", {"blue": 20, "red": 20}, seed=13)
    (data / "red").rename(data / "rusty")
    with pytest.raises(DataError, match="20 pictures have a class that the bundle does not know: 'rusty'"):
        evaluate(bundle, str(data))


def test_errors_in_the_data_fail_unless_quarantined(bundle, make, tmp_path):
    data = make("new", NEW, seed=14)
    (data / "red" / "broken.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 errors, so a number measured on it would not be true"):
        evaluate(bundle, str(data))
    leave = tmp_path / "leave.csv"
    leave.write_text("name,code,message\nred/broken.png,zero-byte,x\n")
    evaluation = evaluate(bundle, str(data), quarantine=leave)
    assert evaluation.score.n == sum(NEW.values())
    told = f"the check-up: 1 quarantined (left out by the quarantine list); see them with: lineside check {data}"
    assert evaluation.warned == told
    assert f"Of {data} says {told}." in report(evaluation).sentences


def test_pictures_smaller_than_the_bundle_takes_are_refused(bundle, make):
    data = make("new", NEW, seed=15)
    pixels = np.random.default_rng(0).integers(0, 255, (12, 40, 3), np.uint8)
    Image.fromarray(pixels).save(data / "red" / "tiny.png")
    with pytest.raises(DataError, match=r"1 pictures have a side under the 16 pixels .* red/tiny.png, 40×12"):
        evaluate(bundle, str(data))


def test_a_signed_bundle_is_not_changed(bundle, make, capsys, tmp_path):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from lineside.bundle import signature

    key = Ed25519PrivateKey.generate()
    folder.replace(bundle, {}, lambda now: now, sign=lambda data: signature.sign(data, key))
    before = open_bundle(bundle).sha256
    code, said = run(capsys, bundle, make("new", NEW, seed=16))
    assert code == 0
    assert open_bundle(bundle).sha256 == before
    assert said["report"] == str(bundle.with_name("colour.bundle.report.html"))
    page = bundle.with_name("colour.bundle.report.html").read_text("utf-8")
    assert "The bundle was not changed (it is signed)" in page


def test_a_bundle_that_only_sorts(sorter, make, capsys):
    data = make("new", NEW, seed=22)
    code, said = run(capsys, sorter, data)
    assert code == 0
    assert said["verdict"] == "sorts only"
    assert said["operating_point"] is None
    assert not any("escape" in name for name in said["metrics"])
    assert "This bundle only sorts" in open_bundle(sorter).read("report.html").decode()
    with pytest.raises(SettingsError, match="this bundle has no accepted class, it only sorts"):
        evaluate(sorter, str(data), max_escape=0.01)


def test_o_writes_the_report_there_too(bundle, make, capsys, tmp_path):
    place = tmp_path / "my report.html"
    code = main(["evaluate", str(bundle), str(make("new", NEW, seed=17)), "-o", str(place)])
    out = capsys.readouterr().out
    assert code == 0
    assert place.read_bytes() == open_bundle(bundle).read("report.html")
    for word in ("top-1", "escape", "overkill", "hold", "95 % interval", str(place)):
        assert word in out


def test_a_bundle_replaced_meanwhile_is_not_touched(bundle, make, change):
    e = evaluate(bundle, str(make("new", NEW, seed=18)))
    files = {"model.onnx": open_bundle(bundle).read("model.onnx") + b"\x00\x00"}
    folder.replace(bundle, files, lambda now: now)
    with pytest.raises(BundleError, match=r"was changed while it was evaluated .*; evaluate again"):
        store(e, "<html></html>")


@pytest.mark.parametrize("promise", [None, 0.2, 0.001])
def test_an_operating_point_that_came_meanwhile_is_not_overwritten(bundle, make, change, promise):
    e = evaluate(bundle, str(make("new", NEW, seed=18)), max_escape=promise)
    point = e.manifest.operating_point
    change(bundle, operating_point=replace(point, accept_at=point.accept_at + 1))
    before = open_bundle(bundle).manifest
    with pytest.raises(BundleError, match=r"was changed while it was evaluated .*; evaluate again"):
        store(e, "<html></html>")
    assert open_bundle(bundle).manifest == before


@pytest.mark.parametrize("promise", [0.0, 1.0, -0.1])
def test_a_promise_must_be_a_rate(bundle, colours, promise):
    with pytest.raises(SettingsError, match="max escape: expected a number between 0 and 1"):
        evaluate(bundle, str(colours), max_escape=promise)


def test_no_bundle_there(tmp_path, colours, capsys):
    assert main(["evaluate", str(tmp_path / "none"), str(colours)]) == 4
    assert "there is no bundle here" in capsys.readouterr().err


def test_names_and_labels_are_hostile(bundle, make):
    """A file name full of markup reaches the page as text, and the page has no script, no link, no event."""
    data = make("new", NEW, seed=19)
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\n{{ 7 * 7 }}.png"
    evil = evil.replace("/", "∕")
    for label in ("blue", "red"):
        for file in list((data / label).iterdir())[:15]:
            file.rename(data / label / f"{file.stem}{evil}")
    page = reports.render(report(evaluate(bundle, str(data))))
    assert "<script" not in page
    assert "&lt;img src=x onerror" in page
    assert "<img src=x" not in page
    assert "{{ 7 * 7 }}" in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_report_says_it_all_and_stays_small(bundle, make):
    e = evaluate(bundle, str(make("new", {"blue": 120, "green": 100, "red": 200}, seed=20, strength=4.0)))
    page = report(e)
    text = reports.render(page)
    assert len(page.errors) == 48 < page.errors_in_all
    assert len(page.near) == 16
    assert len(text.encode()) < 5_000_000
    for words in (
        "What was measured",
        "Operating point",
        "Confusion matrix",
        "Errors, the worst first",
        "What this rests on",
        "Provenance",
        e.manifest.files["model.onnx"],
        "calibrate, ",
    ):
        assert words in text
    assert text.count("<svg") == 4
    assert page.chosen_on is not None
    assert e.calibrate_judged is not None
    assert len(page.chosen_on.good) + len(page.chosen_on.bad) == len(e.calibrate_judged.margins) != e.score.n
    assert "What another threshold would give, calibrate, " in text
    escapes = [s for s in page.errors if s.note.startswith("escape")]
    assert page.errors[: len(escapes)] == tuple(escapes)
    assert [s.margin for s in escapes] == sorted((s.margin for s in escapes), reverse=True)


def test_same_seed_same_metrics(bundle, make):
    data = make("new", NEW, seed=21)
    first, again = (evaluate(bundle, str(data), seed=3).score.metrics() for _ in range(2))
    assert first == again


def test_the_commands_of_the_page_run(bundle, colours, tmp_path, monkeypatch, capsys):
    """docs/evaluate.md: the shell block and the Python block, with these names for BUNDLE and DATA."""
    page = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text("utf-8")
    shell, python = re.findall(r"```(?:python)?\n(.*?)```", page, re.DOTALL)
    (tmp_path / "parts.bundle").symlink_to(bundle)
    (tmp_path / "parts").symlink_to(colours)
    monkeypatch.chdir(tmp_path)
    exec(python, {"__name__": "__main__"})  # noqa: S102 our own page
    assert "%" in capsys.readouterr().out
    for line in shell.strip().splitlines():
        argv = line.replace("BUNDLE", str(bundle)).replace("DATA", "parts").split()
        assert main(argv[1:]) in (0, 1)
    assert (tmp_path / "report.html").exists()


def test_a_hold_out_set_in_folders_of_parts_is_taken(bundle, make):
    make("held/val", NEW, seed=51)
    data = make("held/test", NEW, seed=52).parent
    evaluation = evaluate(bundle, str(data))
    assert len(evaluation.pictures) == 2 * sum(NEW.values())
