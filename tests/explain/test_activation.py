"""Maps are what they say: exact where exact, and hot where the pattern is."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lineside.errors import SettingsError
from lineside.explain import deletion
from lineside.explain.activation import above_of, activation_map, adds_up, default_stages, lead_of, stages_of
from lineside.nets.catalog import NETS
from lineside.nets.parts import classifier, seq
from lineside.nets.stages import outputs, places
from tests.nets.members import FINITE
from tests.nets.test_every_net import SIDE

PATTERN = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])  # a checkerboard


def planted_net() -> nn.Sequential:
    """A net set by hand: channel 0 answers to PATTERN, channel 1 to its negative; class 0 is channel 0."""
    conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    mix = nn.Conv2d(2, 2, 1, bias=False)
    head = classifier(2, 2)
    with torch.no_grad():
        conv.weight.copy_(torch.stack([PATTERN, -PATTERN])[:, None].expand(2, 3, 3, 3) / 27)
        mix.weight.copy_(torch.eye(2).view(2, 2, 1, 1))
        fc = head.get_submodule("fc")
        assert isinstance(fc, nn.Linear)
        fc.weight.copy_(torch.tensor([[4.0, 0.0], [0.0, 4.0]]))
        fc.bias.copy_(torch.tensor([0.1, 0.1]))
    stem = seq(conv=conv, act=nn.Threshold(0.9, 0.0))  # only a whole pattern reaches 1
    return seq(stem=stem, stage1=seq(pool=nn.MaxPool2d(2), mix=mix, act=nn.ReLU()), head=head).eval()


def planted_picture(row: int, column: int, sign: float = 1.0, side: int = 32) -> Tensor:
    """Flat, with the pattern's middle at (row, column)."""
    x = torch.zeros(1, 3, side, side)
    x[:, :, row - 1 : row + 2, column - 1 : column + 2] = sign * PATTERN
    return x


@pytest.mark.parametrize(("row", "column"), [(5, 5), (16, 3), (27, 22), (9, 30)])
@pytest.mark.parametrize("stage", ["stem", "stage1"])
def test_the_map_peaks_at_the_planted_pattern(row, column, stage):
    net, x = planted_net(), planted_picture(row, column)
    found = activation_map(net, x, 0, stage)
    side = found.values.shape[0]
    peak = divmod(int(found.values.argmax()), side)
    assert peak == (row * side // 32, column * side // 32)
    assert (found.values > 0).sum() == 1


@pytest.mark.parametrize("stage", ["stem", "stage1"])
def test_what_argues_for_the_other_class_argues_against_this_one(stage):
    net, x = planted_net(), planted_picture(10, 20, sign=-1.0)
    assert activation_map(net, x, 0, stage).values.min() < 0
    torch.testing.assert_close(activation_map(net, x, 0, stage).values, -activation_map(net, x, 1, stage).values)


def test_a_picture_without_the_pattern_has_an_empty_map():
    assert not activation_map(planted_net(), torch.zeros(1, 3, 32, 32), 0, "stage1").values.any()


def pools_and_is_linear(name: str) -> bool:
    """Whether the head is a mean over all places and one linear layer, by the names of its parts."""
    with torch.device("meta"):
        net = NETS[name].build(2)
    pool = net.get_submodule("head")[0]
    one = isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size == 1
    return one and set(net.get_submodule("head")._modules) <= {"pool", "flat", "drop", "fc"}


EXACT = [name for name in FINITE if pools_and_is_linear(name)]


def test_most_nets_pool_and_those_that_do_not_are_told_apart():
    assert {"googlenet", "resnet18", "resnet20", "preact_resnet18", "densenet121", "efficientnet_lite0"} <= set(EXACT)
    assert not {"lenet5", "lenet5_1998", "linear"} & set(EXACT)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("index", "power"), [(0, 1.0), (3, 3.0)])
def test_the_last_stages_map_adds_up_to_the_lead_of_the_class(name, index, power):
    """CAM's promise: the places' sum and the bias are the answer; kept by the generalised mean too."""
    torch.manual_seed(3)
    net = NETS[name].make(4, power).eval().requires_grad_(False)
    x = torch.randn(1, 3, SIDE[name], SIDE[name])
    last = stages_of(net)[-1]
    found = activation_map(net, x, index, last)
    assert found.exact
    fc = net.get_submodule("head.fc")
    assert isinstance(fc, nn.Linear)
    bias, lead = lead_of(fc.bias[None], index), lead_of(net(x), index)
    torch.testing.assert_close(found.values.sum() + bias[0], lead[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", EXACT)
def test_the_last_stages_map_is_the_layers_row_times_the_maps(name):
    """The gradient's way and Zhou's formula agree."""
    torch.manual_seed(4)
    net = NETS[name].build(3).eval()
    x = torch.randn(1, 3, SIDE[name], SIDE[name])
    last = stages_of(net)[-1]
    fc = net.get_submodule("head.fc")
    assert isinstance(fc, nn.Linear)
    row = fc.weight[1] * 1.5 - fc.weight.sum(0) / 2
    with torch.no_grad():
        maps = outputs(net, x)[last][0]
        cam = (row[:, None, None] * maps).sum(0) / maps[0].numel()
    found = activation_map(net, x, 1, last).values
    torch.testing.assert_close(found, cam, atol=1e-5 * max(1.0, cam.abs().max().item()), rtol=1e-3)


def test_by_the_generalised_mean_a_places_share_is_its_activation_to_the_power():
    """The gradient's way and Euler's: channel's mean × weight, shared out by x³."""
    torch.manual_seed(4)
    net = NETS["resnet18"].make(3, 3.0).eval()
    x = torch.randn(1, 3, 96, 96)
    fc = net.get_submodule("head.fc")
    assert isinstance(fc, nn.Linear)
    row = fc.weight[1] * 1.5 - fc.weight.sum(0) / 2
    with torch.no_grad():
        cubes = outputs(net, x)["stage4"][0].double() ** 3
        mean = cubes.mean((1, 2), keepdim=True) ** (1 / 3)
        expected = (row[:, None, None] * mean * cubes / cubes.sum((1, 2), keepdim=True).clamp(min=1e-30)).sum(0)
    found = activation_map(net, x, 1, "stage4")
    torch.testing.assert_close(found.values, expected.float(), atol=1e-4, rtol=1e-3)


def test_maps_below_the_last_and_of_other_heads_do_not_claim_to_be_exact():
    net = NETS["resnet20"].build(3).eval()
    assert not activation_map(net, torch.randn(1, 3, 32, 32), 0, "stage2").exact
    lenet = NETS["lenet5"].build(3).eval()
    assert not adds_up(lenet)
    assert not activation_map(lenet, torch.randn(1, 3, 32, 32), 0, "stage2").exact


def test_the_map_of_a_linear_classifier_is_its_template_times_the_picture():
    """Pixel by pixel, and exact: with the biases the places are the lead."""
    torch.manual_seed(5)
    net, x = NETS["linear"].build(4).eval(), torch.randn(1, 3, 32, 32)
    fc = net.get_submodule("head.fc")
    assert isinstance(fc, nn.Linear)
    nn.init.normal_(fc.bias)
    found = activation_map(net, x, 2, "stem")
    others = fc.weight[[0, 1, 3]].mean(0)
    torch.testing.assert_close(found.values, ((fc.weight[2] - others).view(3, 32, 32) * x[0]).sum(0))
    assert found.exact
    torch.testing.assert_close(found.values.sum() + lead_of(fc.bias[None], 2)[0], lead_of(net(x), 2)[0])
    assert default_stages(net, x) == ("stem",)


class Tokens(nn.Module):
    """(N, C, h, w) → (N, 1 + h·w, C): a token of zeros in front, then the places row by row."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x.flatten(2).transpose(1, 2), (0, 0, 1, 0))


class Gather(nn.Module):
    """Tokens: the first one gets the mean of all."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(1, keepdim=True), x[:, 1:]], 1)


class First(nn.Module):
    """Tokens (N, T, C) → (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def token_net() -> nn.Sequential:
    """The planted net's stem, its answer gathered in a class token, as transformers do."""
    planted = planted_net()
    return seq(
        stem=seq(body=planted.get_submodule("stem"), tokens=Tokens()),
        stage1=seq(act=nn.ReLU()),
        stage2=seq(gather=Gather()),
        head=seq(pool=First(), fc=planted.get_submodule("head.fc")),
    ).eval()


def test_tokens_have_maps_and_the_class_token_is_no_place_in_them():
    net, x = token_net(), planted_picture(9, 30)
    assert default_stages(net, x) == ("stage1",)
    for stage in ("stem", "stage1"):
        found = activation_map(net, x, 0, stage)
        assert divmod(int(found.values.argmax()), 32) == (9, 30)
        assert (found.values > 0).sum() == 1
        assert not found.exact
    assert not activation_map(net, x, 0, "stage2").values.any()  # its head reads the class token alone
    maps = places(outputs(net, x)["stage1"])
    assert maps.shape == (1, 2, 32, 32)
    assert torch.equal(maps, outputs(planted_net(), x)["stem"])


def test_a_shift_of_all_logits_moves_no_map():
    logits = torch.randn(5, 7)
    torch.testing.assert_close(lead_of(logits + 3, 2), lead_of(logits, 2))
    torch.testing.assert_close(lead_of(logits[:, :2], 0), logits[:, 0] - logits[:, 1])
    others = logits[:, [0, 1, 3, 4, 5, 6]].mean(1)
    torch.testing.assert_close(lead_of(logits, 2), logits[:, 2] - others)


def test_the_finer_map_is_the_deepest_of_twice_the_resolution():
    x = torch.randn(1, 3, 224, 224)
    assert default_stages(NETS["resnet18"].build(2).eval(), x) == ("stage4", "stage3")
    assert default_stages(NETS["efficientnet_lite0"].build(2).eval(), x) == ("last", "stage5")
    assert default_stages(NETS["resnet20"].build(2).eval(), x[..., :32, :32]) == ("stage3", "stage2")
    assert default_stages(NETS["lenet5"].build(2).eval(), x[..., :32, :32]) == ("stage2", "stage1")
    assert default_stages(seq(stem=nn.ReLU(), head=classifier(3, 2)), x[..., :32, :32]) == ("stem",)


def test_a_stage_without_a_map_is_refused():
    net = NETS["resnet20"].build(3)
    with pytest.raises(SettingsError, match=r"stage 'head' has no map, it answers in numbers; stages: stem, stage1"):
        above_of(net, "head")
    with pytest.raises(SettingsError, match=r"stage 'stage9' is not in this net; did you mean stage"):
        above_of(net, "stage9")
    assert above_of(net, "stage3") == "head"


def test_deletion_tells_a_true_map_from_a_wrong_one():
    """Blurring the pattern takes the class away; a map that points elsewhere takes nothing."""
    net, x = planted_net(), planted_picture(16, 16)
    true = activation_map(net, x, 0, "stage1").values
    proof = deletion.check(net, x, true, 0, 0.01, np.random.default_rng(0), share=0.02)
    assert proof.points_at_it
    assert proof.blurred.score < 0.6 < 0.8 < proof.whole.score
    assert proof.blurred.lead == pytest.approx(0, abs=1e-4)
    wrong = torch.zeros_like(true)
    wrong[2, 2] = 1
    wrong_proof = deletion.check(net, x, wrong, 0, 0.01, np.random.default_rng(0), share=0.02)
    assert not wrong_proof.points_at_it
    assert wrong_proof.blurred.lead == pytest.approx(wrong_proof.whole.lead)
    assert len(proof.elsewhere) == deletion.CONTROLS


def test_deletion_repeats_with_its_seed_and_blurs_the_share_it_says():
    net, x = planted_net(), planted_picture(16, 16)
    heat = torch.rand(16, 16, generator=torch.manual_seed(0))
    one, two = (deletion.check(net, x, heat, 0, 1.0, np.random.default_rng(5)) for _ in range(2))
    assert one == two
    flat = torch.full((1, 3, 40, 40), 2.5)
    torch.testing.assert_close(deletion.blur(flat), flat)
    noise = torch.randn(1, 3, 64, 64, generator=torch.manual_seed(1))
    assert deletion.blur(noise).std() < 0.1 * noise.std()
