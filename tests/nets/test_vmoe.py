"""Sparse experts: who goes where, what is dropped, and what the balancing losses measure."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lineside.nets import vit, vmoe
from lineside.nets.catalog import NETS


def some_shares(n: int = 3, t: int = 17, experts: int = 5, spread: float = 2.0) -> torch.Tensor:
    return (spread * torch.randn(n, t, experts, generator=torch.manual_seed(0))).softmax(2)


@pytest.mark.parametrize("capacity", [0.3, 1.05, 5.0])
def test_no_seat_is_taken_twice_and_first_choices_sit_before_second_ones(capacity):
    shares = some_shares()
    gates, place, room = vmoe.assign(shares, capacity)
    best = shares.sort(2, descending=True)
    torch.testing.assert_close(gates, best.values[:, :, :2].transpose(1, 2))
    for i in range(3):
        free = [room] * 5
        for choice in range(2):
            for token in range(17):
                expert = int(best.indices[i, token, choice])
                if free[expert]:
                    assert place[i, choice, token] == expert * room + room - free[expert]
                    free[expert] -= 1
                else:
                    assert place[i, choice, token] == 5 * room
        taken = place[i][place[i] < 5 * room]
        assert len(taken.unique()) == len(taken)
    assert (place == 5 * room).any() == (capacity < 5)


def layer() -> vmoe.Experts:
    torch.manual_seed(0)
    made = vmoe.Experts(6, 10, 4)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.7)
    return made


def test_the_layer_is_the_sum_of_the_chosen_experts_answers_token_by_token():
    experts, x = layer().eval(), torch.randn(2, 9, 6)
    gates, place, room = vmoe.assign(experts.router(x).softmax(2), vmoe.CAPACITY)
    want, dropped = torch.zeros_like(x), 0
    for i in range(2):
        for choice in range(2):
            for token in range(9):
                expert = int(place[i, choice, token]) // room
                if expert == 4:
                    dropped += 1
                    continue
                hidden = F.gelu(x[i, token] @ experts.wide[expert] + experts.wide_bias[expert, 0])
                answer = hidden @ experts.narrow[expert] + experts.narrow_bias[expert, 0]
                want[i, token] += gates[i, choice, token] * answer
    assert dropped  # else nothing is shown about them
    torch.testing.assert_close(experts(x), want)


def test_noise_is_of_training_only_and_changes_the_way():
    experts, x = layer(), torch.randn(2, 9, 6)
    assert torch.equal(experts.eval()(x), experts(x))
    assert not torch.equal(experts.train()(x), experts(x))


def test_an_even_spread_costs_nothing_and_one_favourite_the_most():
    even = torch.eye(4).repeat(5, 1)[None] * 50
    one = torch.zeros(1, 20, 4)
    one[..., 2] = 50
    assert vmoe.importance(even) == pytest.approx(0, abs=1e-6)
    assert vmoe.importance(one) == pytest.approx(4 - 1)  # the variation of (0, 0, 1, 0)
    pairs = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]).repeat(10, 1)[None] * 50
    assert vmoe.load(vmoe.Routing(0.25, pairs, pairs + 1e-3)) == pytest.approx(0, abs=1e-6)
    same = torch.tensor([3.0, 3.0, 0, 0]).expand(1, 20, 4)
    assert vmoe.load(vmoe.Routing(0.25, same, same)) == pytest.approx(1)  # two of four get everything


def test_the_losses_of_a_net_reach_its_routers_and_balance_them():
    torch.manual_seed(0)
    spec = vmoe.VMoE(vit.ViT(8, 16, 4, 2, 32, side=32), 4, range(1, 4, 2))
    net, x = vmoe.build(spec, 3).train(), torch.randn(8, 3, 32, 32)
    scores = [m.router.get_submodule("score") for m in net.modules() if isinstance(m, vmoe.Experts)]
    assert len(scores) == 2
    for score in scores:
        assert isinstance(score, nn.Linear)
        nn.init.normal_(score.weight, std=2.0)
    optimizer = torch.optim.Adam((p for score in scores for p in score.parameters()), lr=0.05)
    found = []
    with vmoe.routed(net) as routings:
        for _ in range(30):
            net(x)
            assert list(routings) == ["stage2.0.think.body.mlp.router.noise", "stage4.0.think.body.mlp.router.noise"]
            loss = vmoe.balance(routings)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    assert sum(found[-5:]) < 0.5 * sum(found[:5])
    routings.clear()
    net(x)
    assert not routings


def test_the_rows_are_as_large_as_the_paper_says():
    said = {"vmoe_s_32": 296.9, "vmoe_b_16": 979.0, "vmoe_l_16": 3446.0, "vmoe_h_14_last5": 2688.6, "vmoe_15b": 14705.1}
    assert {name: round(NETS[name].params / 1e6, 1) for name in said} == said
    blocks = {name: list(vmoe.FAMILY[name].at) for name in ("vmoe_s_32", "vmoe_s_32_last2_e8", "vmoe_h_14_last5")}
    assert blocks["vmoe_s_32"] == [1, 3, 5, 7]
    assert blocks["vmoe_s_32_last2_e8"] == [5, 7]
    assert blocks["vmoe_h_14_last5"] == [23, 25, 27, 29, 31]


def test_experts_cost_what_the_room_holds_not_what_they_hold():
    """Four times the experts, the same multiply-adds but for the router and the rounding of the room."""
    few, many = NETS["vmoe_b_16_e8"], NETS["vmoe_b_16"]
    assert many.params > 3 * few.params
    head = 768 * (many.classes - few.classes)
    assert many.macs - head == pytest.approx(few.macs, rel=0.01)
