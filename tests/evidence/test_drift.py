"""The detector of drift: uniform ranks, the promised distance between false alarms, and that it sees what changes."""

import numpy as np
import pytest
from scipy import stats

from lineside.evidence.drift import STAKES, Detector


def normal(rng, n, mean=0.0):
    return {"good": {"margin": rng.normal(mean, 1, n)}}


def first_alarm(detector, values, group="good", start=1):
    return next((alarm for n, v in enumerate(values, start) if (alarm := detector.add(n, group, {"margin": v}))), None)


def test_ranks_are_uniform_and_independent_whatever_the_distribution():
    rng = np.random.default_rng(1)
    for draw in (lambda n: rng.standard_cauchy(n), lambda n: rng.poisson(1.5, n).astype(float)):
        detector = Detector({"good": {"margin": draw(50)}}, rng=rng)
        p = np.array([detector._p_value("good", "margin", v) for v in draw(4000)])
        assert stats.kstest(p, "uniform").pvalue > 0.001
        assert abs(np.corrcoef(p[1:], p[:-1])[0, 1]) < 0.06


def test_a_bet_is_fair_and_wealth_is_never_negative():
    p = np.linspace(0, 1, 10_001)
    for stake in STAKES:
        wealth = 1 + stake * (p - 0.5)
        assert wealth.min() >= 0
        assert wealth.mean() == pytest.approx(1)


def test_false_alarms_are_as_far_apart_as_promised():
    """Runs without a change until the first alarm, cut at 10 arl: their mean is at least arl."""
    rng, arl = np.random.default_rng(2), 100
    lengths = []
    for _ in range(150):
        detector = Detector(normal(rng, 40), rng=rng, arl=arl)
        alarm = first_alarm(detector, rng.normal(0, 1, 10 * arl))
        lengths.append(alarm.part if alarm else 10 * arl)
    assert np.mean(lengths) >= arl


def test_evidence_without_a_change_grows_by_one_a_part_on_average():
    rng = np.random.default_rng(3)
    ends = []
    for _ in range(400):
        detector = Detector(normal(rng, 60), rng=rng, arl=1e12)
        first_alarm(detector, rng.normal(0, 1, 20))
        ends.append(detector.evidence)
    assert np.mean(ends) == pytest.approx(20, abs=4 * np.std(ends) / 20)


@pytest.mark.parametrize(("shift", "larger"), [(-2.0, False), (2.0, True)])
def test_a_shift_is_seen_and_dated_and_its_way_is_said(shift, larger):
    rng = np.random.default_rng(4)
    detector = Detector(normal(rng, 300), rng=rng)
    assert first_alarm(detector, rng.normal(0, 1, 500)) is None
    alarm = first_alarm(detector, rng.normal(shift, 1, 200), start=501)
    assert alarm is not None
    assert alarm.larger is larger
    assert 480 <= alarm.since <= alarm.part
    assert "margin" in alarm.sentence()
    assert detector.evidence == 0  # it begins anew


def test_another_mixture_of_groups_is_no_drift():
    """Calibrate is half bad, the line is not: each predicted label is compared with its own."""
    rng = np.random.default_rng(5)
    calibrate = {"good": {"margin": rng.normal(3, 1, 200)}, "bad": {"margin": rng.normal(-3, 1, 200)}}
    detector = Detector(calibrate, rng=rng, arl=1000)
    assert first_alarm(detector, rng.normal(3, 1, 800)) is None


def test_what_is_not_finite_or_unknown_says_nothing():
    rng = np.random.default_rng(6)
    detector = Detector(normal(rng, 50), rng=rng, arl=1e6)
    for value in (np.nan, np.inf, -np.inf):
        assert detector.add(1, "good", {"margin": value, "odor": 3.0}) is None
    assert detector.add(2, "good", {}) is None
    assert detector.evidence == pytest.approx(4)  # four parts of p = 1/2: a bet that wins and loses nothing


def test_a_label_that_calibrate_never_saw_learns_as_it_goes():
    rng = np.random.default_rng(7)
    detector = Detector(normal(rng, 50), rng=rng, arl=500)
    assert first_alarm(detector, rng.normal(9, 1, 300), group="new") is None


def test_the_same_seed_gives_the_same_alarms():
    def run(seed):
        detector = Detector(normal(np.random.default_rng(8), 80), rng=np.random.default_rng(seed), arl=50)
        values = np.random.default_rng(9).normal(1, 1, 300)
        return [a.part for n, v in enumerate(values) if (a := detector.add(n, "good", {"margin": v}))]

    assert run(1) == run(1)
    assert run(1)


def test_settings_that_make_no_sense_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="arl"):
        Detector(normal(rng, 10), rng=rng, arl=1)
    with pytest.raises(ValueError, match="no finite number"):
        Detector({"good": {"margin": np.array([np.nan])}}, rng=rng)


def test_the_bins_lean_to_neither_side():
    """Fresh p-values against a fixed calibrate, averaged over many: 1/2, not half a rank less."""
    rng, means = np.random.default_rng(10), []
    for _ in range(600):
        detector = Detector(normal(rng, 20), rng=rng)
        means.append(np.mean([detector._p_value("good", "margin", v) for v in rng.normal(size=10)]))
    assert np.mean(means) == pytest.approx(0.5, abs=4 * np.std(means) / 600**0.5)
    assert 4 * np.std(means) / 600**0.5 < 0.02  # sharp enough to see half a rank of 20
    constant = Detector({"good": {"margin": np.zeros(30)}}, rng=rng)
    p = [constant._p_value("good", "margin", 0.0) for _ in range(500)]
    assert stats.kstest(p, "uniform").pvalue > 0.001
