"""The page and its charts on the edges of what they can be given."""

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image
from rich.console import Console

from lineside.evidence import charts
from lineside.evidence.calibration import reliability
from lineside.evidence.intervals import clopper_pearson, nothing
from lineside.evidence.operating import choose
from lineside.evidence.report import NOT_SHOWN, THUMB_BYTES, ClassLine, Line, Margins, Report, Shown, render, thumbnail
from lineside.evidence.terminal import show

margins = npst.arrays(np.float64, st.integers(0, 30), elements=st.floats(-1e4, 1e4) | st.sampled_from([np.nan, np.inf]))


def jpeg() -> bytes:
    return thumbnail(np.zeros((40, 30, 3), np.uint8))


def page(classes: tuple[str, ...], **other) -> Report:
    k = len(classes)
    point = choose(np.array([-3.0, 3.0]), np.array([False, True]), max_escape=0.1)
    fields = {
        "title": "bundle on data",
        "verdict": NOT_SHOWN,
        "headline": point.sentence(),
        "sentences": ("one.",),
        "lines": (Line("top-1", "meaning", clopper_pearson(3, 4)), Line("ECE", "meaning", nothing("ECE"), rate=False)),
        "point": point,
        "margins": (Margins("test", np.array([3.0]), np.array([-3.0])),),
        "chosen_on": Margins("calibrate", np.array([2.0, 4.0]), np.array([-5.0, 1.0])),
        "classes": classes,
        "per_class": tuple(ClassLine(c, False, 1, nothing("x"), clopper_pearson(1, 1), None) for c in classes),
        "confusion": np.ones((k, k + 1), np.int64),
        "reliability": (reliability(np.array([0.9]), np.array([True])), ()),
        "errors": (),
        "errors_in_all": 0,
        "near": (),
        "parity": (),
        "facts": (("Data", (("name", "value"),)),),
        "assumptions": ("one.",),
    }
    return Report(**(fields | other))


def test_a_page_loads_nothing_and_runs_nothing():
    text = render(page(("a", "b"), errors=(Shown("x", "a", "b", "reject", None, "n", jpeg()),)))
    assert "default-src 'none'" in text
    for forbidden in ("<script", "http:", "https:", "<link", "@import", "url(", "<iframe"):
        assert forbidden not in text, forbidden
    assert not re.search(r"<[^>]*\son\w+\s*=", text)
    assert all(src.startswith("data:image/jpeg;base64,") for src in re.findall(r'src="([^"]*)"', text))


def test_every_word_of_others_is_escaped():
    evil = "<b onload=x>&\"'</td>"
    shown = Shown(evil, evil, evil, "reject", -1.0, evil, jpeg())
    text = render(
        page(
            (evil, "b"),
            title=evil,
            headline=evil,
            sentences=(evil,),
            margins=(Margins(evil, np.array([3.0]), np.array([-3.0])),),
            chosen_on=Margins(evil, np.array([3.0]), np.array([-3.0])),
            errors=(shown,),
            near=(shown,),
            errors_in_all=1,
            parity=((evil, "b", "c"), (evil, "y", "z")),
            facts=((evil, ((evil, evil),)),),
            assumptions=(evil,),
        )
    )
    assert "<b onload" not in text
    assert text.count("&lt;b onload=x&gt;&amp;") >= 18


def test_no_word_of_others_steers_the_terminal():
    evil, out = "\x1b[31mbad\x07", io.StringIO()
    lines = (Line(f"recall of {evil}", evil, clopper_pearson(3, 4)),)
    show(page(("a", "b"), title=evil, headline=evil, sentences=(evil,), lines=lines), Console(file=out, width=200))
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count(r"\x1b[31mbad\x07") == 5


def test_many_classes_are_listed_not_drawn():
    names = tuple(f"class {i}" for i in range(400))
    text = render(page(names))
    assert "Most frequent confusions" in text
    assert "Confusion matrix" not in text
    assert len(text) < 1_000_000


def test_a_page_of_nothing():
    text = render(
        page(
            ("a", "b"),
            point=None,
            margins=(),
            chosen_on=None,
            confusion=np.zeros((2, 3), np.int64),
            reliability=((), ()),
        )
    )
    assert "Operating point" not in text
    assert "None among the test pictures" in text
    assert "not measured" in text


def test_what_other_thresholds_would_give_is_told_of_calibrate_never_of_test():
    on = page(("a", "b"))
    drawn = re.findall(r"What another threshold would give, (\w+)\..*?(<svg.*?</svg>)", render(on), re.DOTALL)
    assert on.point is not None
    assert on.chosen_on is not None
    title = "Escape against good parts not accepted, calibrate"
    from_calibrate = charts.trade_off(
        on.chosen_on.good, on.chosen_on.bad, on.point.accept_at, on.point.max_escape, title
    )
    assert drawn == [("calibrate", from_calibrate)]
    assert "What another threshold" not in render(page(("a", "b"), chosen_on=None))


@settings(deadline=None, max_examples=60)
@given(margins, margins, st.floats(0, 50), st.floats(0, 20))
def test_charts_take_any_margins(good, bad, accept_at, hold):
    for svg in (
        charts.margins(good, bad, accept_at, accept_at - hold, "t"),
        charts.trade_off(good, bad, accept_at, 0.01, "t"),
    ):
        assert svg.startswith("<svg")
        assert svg.endswith("</svg>")
        assert "nan" not in svg
        assert "inf" not in svg


def test_no_bar_stands_in_two_zones():
    edges = charts._edges(-10.0, 9.0, 1.234, -2.345)
    assert 1.234 in edges
    assert -2.345 in edges
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= -10
    assert edges[-1] >= 9


def test_titles_of_charts_are_escaped():
    assert "<i>" not in charts.margins(np.zeros(1), np.zeros(1), 0.0, 0.0, "<i>")


def test_a_curve_of_many_parts_stays_small():
    rng = np.random.default_rng(0)
    svg = charts.trade_off(rng.normal(3, 2, 50_000), rng.normal(-3, 2, 50_000), 0.0, 0.01, "t")
    assert len(svg) < 60_000


@pytest.mark.parametrize("shape", [(8, 8), (1, 4000), (3000, 2500), (168, 168)])
def test_thumbnails_are_bounded(shape):
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    data = thumbnail(noise)
    assert len(data) <= THUMB_BYTES
    with Image.open(io.BytesIO(data)) as small:
        assert max(small.size) <= 168
