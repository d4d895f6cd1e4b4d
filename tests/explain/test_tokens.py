"""A vision transformer and a Swin are explained by their default stages."""

import pytest
import torch
from torch import Tensor, nn

from lineside.explain.activation import activation_map, default_stages
from lineside.explain.features import strip
from lineside.nets import swin, vit
from lineside.nets.parts import seq
from lineside.nets.stages import outputs


class Gather(nn.Module):
    """The class token gets the sum of all places' tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 1:].relu().sum(1, keepdim=True), x[:, 1:]], 1)


def planted_net() -> nn.Sequential:
    """ViT's stem set by hand: 4 x 4 patches of 8 px, channel 0 bright, channel 1 dark; the first class is bright."""
    patches = nn.Conv2d(3, 2, 8, 8)
    tokens, fc = vit.Tokens(2, 4), nn.Linear(2, 2)
    assert patches.bias is not None
    with torch.no_grad():
        patches.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8) / 192)
        for parameter in (*tokens.parameters(), patches.bias, fc.bias):
            parameter.zero_()
        fc.weight.copy_(torch.eye(2))
    head = seq(pool=vit.First(), fc=fc)
    return seq(stem=seq(patches=patches, tokens=tokens), stage1=seq(gather=Gather()), head=head).eval()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (3, 2)])
def test_the_map_of_vits_tokens_peaks_at_the_bright_patch(row, column):
    x = torch.zeros(1, 3, 32, 32)
    x[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
    found = activation_map(planted_net(), x, 0, "stem")
    assert found.values.shape == (4, 4)
    assert divmod(int(found.values.argmax()), 4) == (row, column)
    assert (found.values > 0).sum() == 1


def test_vits_default_is_the_stage_whose_places_are_still_read():
    torch.manual_seed(0)
    net, x = vit.build(vit.ViT(16, 24, 4, 3, 48, side=64), 3).eval(), torch.randn(1, 3, 64, 64)
    assert default_stages(net, x) == ("stage3",)
    found = activation_map(net, x, 1, "stage3")
    assert found.values.shape == (4, 4)
    assert found.values.any()
    assert not found.exact
    assert [strip(name, out).side_px for name, out in outputs(net, x).items() if name != "head"] == [(4, 4)] * 5


def test_swins_last_map_is_exact():
    torch.manual_seed(0)
    net = swin.build(swin.Swin(12, (1, 1, 2, 1), (1, 2, 3, 4), (4, 4, 4, 2), 0.0), 3).eval()
    x = torch.randn(1, 3, 64, 64)
    assert default_stages(net, x) == ("stage4", "stage3")
    found = activation_map(net, x, 1, "stage4")
    bias = net.get_submodule("head.fc").bias
    assert isinstance(bias, Tensor)
    logits = net(x)[0] - bias
    assert found.exact
    torch.testing.assert_close(found.values.sum(), (logits[1] - logits[[0, 2]].mean()).detach())
