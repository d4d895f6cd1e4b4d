"""Features are computed once, whole after a kill, the same whoever computes them, and a full disk is a sentence."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lineside.data.picture import load
from lineside.errors import PictureError, TrainError
from lineside.learn import features
from lineside.learn.frozen import frozen
from lineside.learn.ranks import Ranks
from lineside.learn.recipe import Augment
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from lineside.nets.stages import split_at
from tests.learn import shapes

ROW = NETS["lenet5"]
INPUT = Input(32, ROW.mean, ROW.std).eval()


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    return sorted(shapes.write(tmp_path_factory.mktemp("shapes"), each=25).rglob("*.png"))  # 75: chunks of 32, 32, 11


@pytest.fixture(scope="module")
def below():
    torch.manual_seed(0)
    return split_at(ROW.build(3), "stage1")[0].eval()


@pytest.fixture(scope="module")
def run_below(below):
    return frozen(below, torch.zeros(1, 3, 32, 32), "float32")


def compute(paths, path, below, ranks=Ranks(), **changes):  # noqa: B008
    settings = {"views": 3, "how": Augment(), "seed": 5, "limit_gb": 1.0} | changes
    return features.open_cache(INPUT, below, paths, path, ranks=ranks, **settings)


def test_view_0_is_what_the_net_says_of_the_picture_itself(paths, below, run_below, tmp_path):
    cache = compute(paths, tmp_path / "f.bin", run_below)
    with torch.inference_mode():
        expected = below(INPUT(torch.from_numpy(np.stack([load(p) for p in paths]))))
    assert cache.shape == (3, 75, 6, 14, 14)
    assert torch.allclose(cache.plain(slice(None)), expected, rtol=2**-8, atol=1e-6)  # bfloat16 keeps 8 bits


def test_a_view_is_computed_when_its_epoch_comes_and_is_another(paths, run_below, tmp_path):
    cache = compute(paths, tmp_path / "f.bin", run_below)
    rows = np.arange(75)
    assert not cache.held()[1].any()
    for epoch in range(3):
        cache.fill(epoch)
    views = cache.held()
    assert not (views[0] == views[1]).all()
    assert not (views[1] == views[2]).all()
    assert torch.equal(cache.drawn(rows, 0), cache.plain(rows))
    assert torch.equal(cache.drawn(rows, 1), cache.drawn(rows, 4)), "three views: epoch 4 learns from view 1"
    assert torch.equal(cache.drawn(rows[10:20], 1), cache.drawn(rows, 1)[10:20])


def test_an_unfinished_cache_goes_on_where_it_stopped(paths, run_below, tmp_path):
    whole, cut = (compute(paths, tmp_path / name, run_below) for name in ("whole.bin", "cut.bin"))
    for cache in (whole, cut):
        cache.fill(1)
    marks = np.memmap(tmp_path / "cut.done", np.uint8, "r+", shape=(3, 3))
    marks[1, 1] = 0
    cut.held("r+")[1, 32:64] = 0
    broken = [Path("gone.png")] * 32  # the finished chunks must not be read again
    compute([*broken, *paths[32:64], *broken[:11]], tmp_path / "cut.bin", run_below).fill(1)
    assert (cut.held() == whole.held()).all()


def test_ranks_together_compute_what_one_would(paths, run_below, tmp_path):
    class Alone(Ranks):
        def barrier(self) -> None:
            """The two take turns here instead of waiting."""

    whole = compute(paths, tmp_path / "whole.bin", run_below)
    whole.fill(2)
    for rank in (0, 1):
        shared = compute(paths, tmp_path / "shared.bin", run_below, ranks=Alone(rank, 2))
        shared.fill(2)
    assert (shared.held() == whole.held()).all()


def test_without_frozen_stages_the_cache_is_the_pictures(paths, tmp_path):
    cache = compute(paths, tmp_path / "p.bin", None)
    assert cache.shape == (1, 75, 3, 32, 32)
    assert (cache.held()[0] == np.stack([load(p) for p in paths]).transpose(0, 3, 1, 2)).all()
    with torch.inference_mode():
        expected = INPUT(torch.from_numpy(np.stack([load(p) for p in paths])))
    assert torch.allclose(cache.plain(slice(None)), expected, atol=1e-5)


def test_views_give_way_to_the_limit_and_one_that_can_not_fit_is_refused(paths, run_below, tmp_path):
    one = 75 * 6 * 14 * 14 * 2 / 1e9
    two = compute(paths, tmp_path / "two.bin", run_below, limit_gb=2.5 * one)
    assert two.shape[0] == 2
    assert "only 2 of 3 views, of each of 75 training pictures" in two.too_few(3, 2.5 * one)
    assert two.too_few(2, 2.5 * one) == ""
    single = compute(paths, tmp_path / "one.bin", run_below, limit_gb=1.5 * one)
    assert single.shape[0] == 1
    assert "only 1 of 3 views, the picture as it is, " in (said := single.too_few(3, 1.5 * one))
    assert "NOTHING IS AUGMENTED; in a recipe cache_gb = 0.1 has room for all" in said
    with pytest.raises(TrainError, match="raise cache_gb, lower size_px, or freeze more"):
        compute(paths, tmp_path / "none.bin", run_below, limit_gb=0.5 * one)
    assert not (tmp_path / "none.bin").exists()


def test_a_full_disk_is_a_sentence_and_leaves_nothing(paths, run_below, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainError, match=r"f\.bin: no room for .* MB of features.*No space left"):
        compute(paths, tmp_path / "f.bin", run_below)
    assert not (tmp_path / "f.bin").exists()


def test_a_picture_that_broke_since_the_check_stops_by_name(paths, run_below, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:100])
    with pytest.raises(PictureError, match=r"broken\.png"):
        compute([*paths[:3], broken], tmp_path / "f.bin", run_below)
