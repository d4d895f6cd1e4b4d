"""The line's drift detector starts from the bundle: calibrate's margins and looks, by the label that is predicted."""

import numpy as np
import pytest

from lineside.bundle.folder import open_bundle
from lineside.data.looks import looks
from lineside.errors import BundleError
from lineside.evidence.drift import Detector
from lineside.line.drift import EVERY, MARGIN, detector, watcher

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)


def test_it_knows_calibrate(bundle):
    found = detector(open_bundle(bundle), np.random.default_rng(0))
    assert MARGIN in found.numbers


def test_while_parts_wait_only_some_are_looked_at():
    asked = []

    class Counting(Detector):
        def add(self, part, group, numbers):
            asked.append(part)
            return super().add(part, group, numbers)

    own = Counting({"a": {MARGIN: RNG.normal(size=30)}}, rng=np.random.default_rng(0))
    see = watcher(own, lambda: True)
    for n in range(1, 2 * EVERY + 1):
        see(n, "a", 0.0, PICTURE)
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
        alarm = see(n, "a", draw.normal(), np.clip(one, 0, 255).astype(np.uint8))
        alarms += [alarm] if alarm else []
    assert alarms
    assert alarms[0].number == "brightness"
    assert not alarms[0].larger
    assert 195 <= alarms[0].since <= alarms[0].part <= 300


def test_looks_of_other_pictures_are_refused():
    from lineside.bundle import looks as file

    with pytest.raises(BundleError, match="not those of calibrate"):
        file.read(b"name,brightness,contrast,sharpness\r\na,1,2,3\r\n", ["b"], "x.bundle: looks.csv")
    with pytest.raises(BundleError, match="not finite"):
        file.read(b"name,brightness,contrast,sharpness\r\na,1,2,nan\r\n", ["a"], "x.bundle: looks.csv")
    with pytest.raises(BundleError, match="columns"):
        file.read(b"name\r\na\r\n", ["a"], "x.bundle: looks.csv")
