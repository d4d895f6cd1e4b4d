"""The line's drift detector starts from the bundle: calibrate's margins and looks, by the label that is predicted."""

import numpy as np
import pytest
from PIL import Image

from lineside.bundle.folder import open_bundle
from lineside.bundle.looks import FILE, write
from lineside.bundle.looks import read as read_looks
from lineside.bundle.parity import Reference, write_reference
from lineside.data.looks import looks
from lineside.errors import BundleError
from lineside.evidence.drift import Detector
from lineside.labels import Annotation
from lineside.line.decide import Answer
from lineside.line.drift import EVERY, MARGIN, detector, watcher
from lineside.line.events import Answered, Failed, Part
from lineside.line.metrics import of_line
from lineside.line.run import run as run_line
from lineside.line.snapshot import Window
from lineside.line.source.frame import Frame, Source
from lineside.line.summary import text
from lineside.line.view import View
from lineside.store.open import open_store
from lineside.tasks.classify.decode import Decision
from tests.line.tiny import BLUE, CLASSES, RED, logits_of, run, stub, write_bundle

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)


def answer(n, category, margin, picture):
    """What the engine's thread says of part n."""
    decision = Decision(Annotation(category, 0.9), margin, "accept", "")
    return Answer(Answered(Part(str(n), n), decision, 0), decision=decision, picture=picture)


def with_calibrate(tmp_path, looks_too=True):
    """A bundle with 60 calibrate pictures, red ones and blue ones, no two alike."""
    draw, paths, logits = np.random.default_rng(2), [], []
    for n in range(60):
        pixels = np.clip(draw.normal(RED if n % 2 else BLUE, 8, (16, 16, 3)), 0, 255).astype(np.uint8)
        paths.append(tmp_path / f"{n}.png")
        Image.fromarray(pixels).save(paths[-1])
        logits.append(logits_of(pixels[None])[0])
    names = tuple(p.name for p in paths)
    truth = Reference(names, tuple("good" if n % 2 else "bad" for n in range(60)), CLASSES, ("good",), np.array(logits))
    extra = {"calibrate.csv": write_reference(truth)} | ({FILE: write(names, paths)} if looks_too else {})
    return open_bundle(write_bundle(tmp_path / "tiny.bundle", extra=extra))


def test_it_starts_from_the_bundles_calibrate_pictures(tmp_path):
    found = detector(with_calibrate(tmp_path), np.random.default_rng(0), arl=1000)
    assert set(found.numbers) == {MARGIN, "brightness", "contrast", "sharpness"}
    draw, see = np.random.default_rng(3), watcher(found, lambda: False)

    def part(n, shift):
        pixels = np.clip(draw.normal(np.array(RED) + shift, 8, (16, 16, 3)), 0, 255).astype(np.uint8)
        low, high = logits_of(pixels[None])[0]
        return see(answer(n, "good", float(high - low), pixels))

    assert not any(part(n, 0) for n in range(150))  # all good: another mixture than calibrate's
    alarm = next(alarm for n in range(150, 250) if (alarm := part(n, 12)))
    assert alarm.number == "brightness"
    assert alarm.larger


def test_a_bundle_without_looks_is_watched_by_its_margins(tmp_path):
    assert detector(with_calibrate(tmp_path, looks_too=False), np.random.default_rng(0)).numbers == (MARGIN,)


def test_while_parts_wait_only_some_are_looked_at():
    asked = []

    class Counting(Detector):
        def add(self, part, group, numbers):
            asked.append(part)
            return super().add(part, group, numbers)

    own = Counting({"a": {MARGIN: RNG.normal(size=30)}}, rng=np.random.default_rng(0))
    see = watcher(own, lambda: True)
    for n in range(1, 2 * EVERY + 1):
        see(answer(n, "a", 0.0, PICTURE))
    see(Answer(Failed(Part("x", 99), "unreadable", "", 0)))  # nothing to look at
    assert asked == [EVERY, 2 * EVERY]


def test_a_lamp_that_fades_is_told():
    """Brightness falls by a tenth; margins stay."""
    draw = np.random.default_rng(1)
    pictures = [np.clip(draw.normal(150, 30, (32, 32, 3)), 0, 255).astype(np.uint8) for _ in range(120)]
    seen = [looks(one) for one in pictures]
    calibrate = {
        MARGIN: draw.normal(size=120),
        "brightness": np.array([s.brightness for s in seen]),
        "contrast": np.array([s.contrast for s in seen]),
        "sharpness": np.array([s.sharpness for s in seen]),
    }
    see = watcher(Detector({"a": calibrate}, rng=draw), lambda: False)
    alarms = []
    for n in range(1, 401):
        one = draw.normal(150 if n <= 200 else 135, 30, (32, 32, 3))
        alarm = see(answer(n, "a", draw.normal(), np.clip(one, 0, 255).astype(np.uint8)))
        alarms += [alarm] if alarm else []
    assert alarms
    assert alarms[0].number == "brightness"
    assert not alarms[0].larger
    assert 195 <= alarms[0].since <= alarms[0].part <= 300


def test_the_run_tells_of_drift_and_goes_on(tmp_path):
    """Reds get darker after 200 parts: said at once, in the summary, and no verdict changes for it."""
    bundle, draw, said = with_calibrate(tmp_path), np.random.default_rng(5), []

    def frames():
        for n in range(1, 401):
            shift = 0 if n <= 200 else -25
            pixels = np.clip(draw.normal(np.array(RED) + shift, 8, (16, 16, 3)), 0, 255).astype(np.uint8)
            yield Frame(str(n), n, "x", picture=pixels)

    store = open_store(tmp_path / "results.db")
    drift = detector(bundle, np.random.default_rng(0), arl=10_000)
    summary = run(stub(), Source("mem:", frames(), 400), [], store, drift=drift, say=said.append)
    store.dispose()
    assert summary.parts == summary.stored == summary.verdicts["accept"] == 400
    assert summary.alarms
    assert 150 <= summary.alarms[0].since <= summary.alarms[0].part
    assert summary.alarms[0].part > 200
    told = [one for one in said if one.event == "drift"]
    assert [one.sentence for one in told] == [alarm.sentence() for alarm in summary.alarms]
    assert [one.part_id for one in told] == [str(alarm.part) for alarm in summary.alarms]
    assert told[0].sentence in text(summary)


def test_of_two_cameras_the_one_that_drifts_is_named_in_the_metrics(tmp_path):
    bundle, draw, window = with_calibrate(tmp_path), np.random.default_rng(5), Window("l")

    def view(name, later):
        def frames():
            for n in range(1, 401):
                shift = 0 if n <= 200 else later
                pixels = np.clip(draw.normal(np.array(RED) + shift, 8, (16, 16, 3)), 0, 255).astype(np.uint8)
                yield Frame(str(n), n, "x", picture=pixels)

        drift = detector(bundle, np.random.default_rng(0), arl=10_000)
        return View(name, Source(f"mem:{name}", frames(), 400), {"part": stub()}, {"part": drift})

    store = open_store(tmp_path / "results.db")
    run_line([view("top", 0), view("side", -25)], [], store, window=window)
    store.dispose()
    alarms = window.look().alarms
    assert {camera for camera, _ in alarms} == {"top", "side"}
    assert sum(n for (camera, _), n in alarms.items() if camera == "top") == 0
    assert sum(n for (camera, _), n in alarms.items() if camera == "side") >= 1
    (metric,) = [one for one in of_line(window.look()) if one.name == "lineside_drift_alarms"]
    told = {(one.labels["camera"], one.labels["number"]): one.value for one in metric.samples}
    assert told == alarms


def test_looks_of_other_pictures_are_refused():
    with pytest.raises(BundleError, match="not those of calibrate"):
        read_looks(b"name,brightness,contrast,sharpness\r\na,1,2,3\r\n", ["b"], "x.bundle: looks.csv")
    with pytest.raises(BundleError, match="not finite"):
        read_looks(b"name,brightness,contrast,sharpness\r\na,1,2,nan\r\n", ["a"], "x.bundle: looks.csv")
    with pytest.raises(BundleError, match="columns"):
        read_looks(b"name\r\na\r\n", ["a"], "x.bundle: looks.csv")
