"""Which net "auto" takes: the fastest that is shown to be as good as the best, by a stated margin; else the best."""

import numpy as np
import pytest

from lineside.tasks.classify.choice import Candidate, pick

RNG = np.random.default_rng(0)


def candidate(net: str, latency_ms: float, wrong: range, n: int = 400) -> Candidate:
    lead = RNG.uniform(0.5, 3, n)
    lead[list(wrong)] *= -1
    return Candidate(net, latency_ms, lead)


def one_class(n: int = 400) -> np.ndarray:
    return np.zeros(n, np.int64)


def test_a_faster_net_is_taken_where_it_is_shown_to_be_as_good():
    chosen, why = pick([candidate("slow", 20, range(4)), candidate("fast", 5, range(5))], one_class())
    assert chosen.net == "fast"
    assert why.startswith(
        "chosen: fast, the fastest that is shown to be as good as slow: not inferior: 1 of 400 pictures"
    )
    assert "below the margin of 2 %" in why


def test_that_a_difference_is_not_shown_is_no_reason_to_take_the_faster_net():
    """86.7 against 95 % of 60 pictures: McNemar's p is 0.06, and that says nothing."""
    chosen, why = pick([candidate("slow", 20, range(3), 60), candidate("fast", 5, range(8), 60)], one_class(60))
    assert chosen.net == "slow"
    assert why.startswith(
        "chosen: slow, the most often right; no faster net is shown to be as good. The nearest, fast: "
    )
    assert "5 of 60 pictures lost, 0 won" in why


def test_the_fastest_of_those_that_are_shown_is_taken():
    some = [candidate("best", 20, range(4)), candidate("bad", 2, range(40)), candidate("good", 5, range(5))]
    assert pick(some, one_class())[0].net == "good"


def test_the_nearest_of_those_that_are_not_is_named():
    some = [candidate("best", 20, range(4)), candidate("bad", 2, range(40)), candidate("fair", 5, range(15))]
    chosen, why = pick(some, one_class())
    assert chosen.net == "best"
    assert "The nearest, fair: not shown" in why


@pytest.mark.parametrize("alike", [True, False])
def test_pictures_of_few_lots_do_not_show_what_as_many_independent_ones_do(alike):
    """Within a lot all pictures are equally easy for a net: 20 witnesses, not 400."""
    lots = np.repeat(np.arange(20), 20)
    leads = np.linspace(1, 3, 20)[lots] if alike else RNG.permutation(np.linspace(1, 3, 400))
    nets = [Candidate("slow", 20, leads), Candidate("fast", 5, leads.copy())]
    nets[1].lead[0] = -1
    assert pick(nets, one_class())[0].net == "fast"
    chosen, why = pick(nets, one_class(), lots)
    assert chosen.net == ("slow" if alike else "fast"), why
    assert ("worth 20 independent ones" in why) == alike


def test_a_single_one_and_the_fastest_that_is_best_are_taken():
    for some in ([candidate("one", 5, range(4))], [candidate("one", 5, range(4)), candidate("slow", 20, range(4))]):
        chosen, why = pick(some, one_class())
        assert chosen.net == "one"
        assert why == "chosen: one, the most often right, and no net is faster"


@pytest.mark.parametrize("seed", range(20))
def test_what_is_chosen_is_never_slower_than_the_best(seed):
    rng = np.random.default_rng(seed)
    some = [Candidate(f"n{i}", rng.uniform(1, 50), rng.uniform(-1, rng.uniform(1, 9), 150)) for i in range(5)]
    chosen, _ = pick(some, one_class(150), rng.integers(40, size=150))
    best = max(some, key=lambda c: (c.right.sum(), -c.latency_ms))
    assert chosen.latency_ms <= best.latency_ms
