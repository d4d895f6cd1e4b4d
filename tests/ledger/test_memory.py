"""Peaks of memory: by hand, and what autograd keeps of real tensors."""

import pytest
import torch
from torch import nn

from lineside.ledger import memory
from lineside.ledger.cost import cost
from lineside.nets.catalog import NETS
from lineside.nets.parts import Concat, Residual


def peak(net: nn.Module, *shape: int) -> int:
    return memory.inference(cost(net, shape))[0] // 4  # float32 numbers


def test_a_chain_needs_an_operations_input_and_output():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert peak(net, 1, 1, 10, 10) == 400 + 400  # relu: both of 4 x 100
    assert peak(nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1)), 1, 1, 10, 10) == 600


def test_a_shortcut_keeps_its_input_alive():
    body = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    assert peak(body, 1, 2, 10, 10) == 400
    assert peak(Residual(body), 1, 2, 10, 10) == 600


def test_branches_live_until_they_are_joined():
    branches = Concat(a=nn.Conv2d(1, 1, 1), b=nn.Conv2d(1, 2, 1), c=nn.Conv2d(1, 3, 1))
    assert peak(branches, 1, 1, 10, 10) == 600 + 600  # the joined and its parts; the input is gone


def test_views_take_nothing():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Unflatten(1, (4, 10, 10)), nn.Conv2d(4, 1, 1))
    assert peak(net, 1, 1, 10, 10) == 500


def test_where_the_peak_is():
    found = cost(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 9, 1), nn.Conv2d(9, 1, 1)), (1, 1, 8, 8))
    assert found.rows[memory.inference(found)[1]].path == "1"


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_what_training_keeps_is_what_autograd_keeps_of_real_tensors(name):
    net = NETS[name].build(10).train()
    learnt = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers())}
    kept: dict[int, int] = {}
    alive = []

    def keep(t):
        if t.untyped_storage().data_ptr() not in learnt:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            alive.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        net(torch.randn(2, 3, 32, 32))
    assert memory.training(net, (2, 3, 32, 32)) == sum(kept.values())


def test_frozen_stages_keep_less():
    net = NETS["resnet20"].build(10)
    whole = memory.training(net, (1, 3, 32, 32))
    net.get_submodule("stem").requires_grad_(False)
    net.get_submodule("stage1").requires_grad_(False)
    assert memory.training(net, (1, 3, 32, 32)) < whole


def test_a_batch_takes_as_many_times_the_memory():
    net = NETS["resnet20"].build(10)
    one, four = (memory.inference(cost(net, (n, 3, 32, 32)))[0] for n in (1, 4))
    assert four == 4 * one
