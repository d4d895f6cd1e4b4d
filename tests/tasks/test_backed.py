"""`verify` compares an operating point with the calibrate answers that it was chosen on."""

from dataclasses import replace

import pytest

from lineside.bundle import folder
from lineside.bundle.folder import open_bundle
from lineside.cli.main import main
from lineside.errors import BundleError
from lineside.evidence.intervals import clopper_pearson
from lineside.tasks.classify.backed import backed


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"accept_at": 0.0, "reject_below": 0.0}, r"operating_point\.accept_at is 0, but .* calibrate\.csv gives \d"),
        ({"reject_below": -9.0}, r"operating_point\.reject_below is -9, but"),
        ({"max_escape": 0.001}, r"operating_point\.\w+ is .*, but the bundle's own calibrate\.csv gives"),
        ({"shown": False}, r"operating_point\.shown is false, but .* gives true"),
        ({"escape_bound": 1e-4}, r"operating_point\.escape_bound is 0\.0001, but"),
        ({"escapes": 0, "n_bad": 6000}, r"operating_point\.n_bad is 6000, but"),
        ({"overkill": clopper_pearson(0, 999)}, r"operating_point\.overkill\.\w+ is"),
    ],
)
def test_what_was_edited_is_named(bundle, capsys, changed, says):
    assert "calibrate answers give these thresholds" in backed(open_bundle(bundle))
    own = open_bundle(bundle).manifest.operating_point
    folder.replace(bundle, {}, lambda now: replace(now, operating_point=replace(own, **changed)))  # its checksum fits
    with pytest.raises(BundleError, match=says):
        backed(open_bundle(bundle))
    assert main(["verify", str(bundle)]) == 1
    assert "NO  evidence" in capsys.readouterr().out


def test_another_promise_that_evaluate_stored_is_backed(bundle, make, capsys):
    data = make("new", {"blue": 6, "green": 6, "red": 6}, seed=31)
    assert main(["evaluate", str(bundle), str(data), "--max-escape", "0.2"]) == 0
    assert open_bundle(bundle).manifest.operating_point.max_escape == 0.2
    assert "the promise is shown" in backed(open_bundle(bundle))


def test_an_interval_made_another_way_is_not_compared_but_its_rate_is(bundle):
    own = open_bundle(bundle).manifest.operating_point
    older = replace(own.overkill, low=0.0, high=0.5, method="Wilson")
    folder.replace(bundle, {}, lambda now: replace(now, operating_point=replace(own, overkill=older)))
    backed(open_bundle(bundle))
    lower = replace(older, value=0.25)
    folder.replace(bundle, {}, lambda now: replace(now, operating_point=replace(own, overkill=lower)))
    with pytest.raises(BundleError, match=r"operating_point\.overkill\.value is 0\.25"):
        backed(open_bundle(bundle))


def test_lots_count_as_they_did_when_it_was_made(bundle):
    """In lots calibrate's parts are fewer witnesses: another point, and the same one again out of what is kept."""
    from lineside.tasks.classify.evaluate import from_calibrate, kept

    lots = [line.split(",") for line in open_bundle(bundle).read("split.csv").decode().split()]
    text = "\n".join(",".join(row if k == 0 else [*row[:4], f"lot {row[1]}"]) for k, row in enumerate(lots)) + "\n"
    folder.replace(bundle, {"split.csv": text.encode()}, lambda now: now)
    with pytest.raises(BundleError, match="operating_point"):
        backed(open_bundle(bundle))
    opened, _, calibrate = kept(open_bundle(bundle))
    point = from_calibrate(opened.manifest, calibrate, 0.05, 0.95, 0.01)
    folder.replace(bundle, {}, lambda now: replace(now, operating_point=point))
    assert point.n_bad_effective < point.n_bad
    backed(open_bundle(bundle))


def test_a_bundle_that_only_sorts_has_nothing_to_compare(sorter):
    assert backed(open_bundle(sorter)) == "the bundle only sorts: no operating point to compare"


def test_a_bundle_without_its_answers_is_not_backed(bundle):
    folder.replace(bundle, {"calibrate.csv": None}, lambda now: now)
    with pytest.raises(BundleError, match=r"calibrate\.csv: is not in the manifest"):
        backed(open_bundle(bundle))
