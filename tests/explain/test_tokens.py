"""Maps of a transformer's stages: tokens become places again, and the class token none."""

import pytest
import torch
from torch import Tensor, nn

from lineside.errors import SettingsError
from lineside.explain.activation import activation_map, as_map, default_stages
from lineside.explain.features import strip
from lineside.nets import swin, vit
from lineside.nets.parts import seq
from lineside.nets.stages import outputs


class Gather(nn.Module):
    """The class token gets the sum of all places' tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 1:].relu().sum(1, keepdim=True), x[:, 1:]], 1)


def planted_net() -> nn.Sequential:
    """4 x 4 patches of 8 px, channel 0 bright, channel 1 dark; the first class is bright."""
    patches = nn.Conv2d(3, 2, 8, 8)
    tokens, head = vit.Tokens(2, 4), seq(pool=vit.First(), fc=nn.Linear(2, 2))
    with torch.no_grad():
        patches.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8) / 192)
        for parameter in (*tokens.parameters(), patches.bias, head.get_submodule("fc").bias):
            parameter.zero_()  # pyright: ignore
        head.get_submodule("fc").weight.copy_(torch.eye(2))  # pyright: ignore
    return seq(stem=seq(patches=patches, tokens=tokens), stage1=seq(gather=Gather()), head=head).eval()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (3, 2)])
def test_the_map_of_tokens_peaks_at_the_bright_patch(row, column):
    x = torch.zeros(1, 3, 32, 32)
    x[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
    found = activation_map(planted_net(), x, 0, "stem")
    assert found.values.shape == (4, 4)
    assert divmod(int(found.values.argmax()), 4) == (row, column)
    assert (found.values > 0).sum() == 1


def test_a_stage_of_which_only_the_class_token_is_read_is_refused_and_not_the_default():
    net, x = planted_net(), torch.rand(1, 3, 32, 32)
    with pytest.raises(
        SettingsError, match="stage 'stage1' has no map: what comes after it reads only its class token"
    ):
        activation_map(net, x, 0, "stage1")
    assert default_stages(net, x) == ("stem",)


@pytest.mark.parametrize("more", [0, 1])
def test_tokens_are_places_row_by_row(more):
    places = torch.arange(6.0 * 9).view(1, 9, 6)
    tokens = torch.cat([torch.full((1, more, 6), -1.0), places], 1)
    assert torch.equal(as_map(tokens, "s")[0, :, 1, 2], places[0, 5])
    assert as_map(tokens, "s").shape == (1, 6, 3, 3)


@pytest.mark.parametrize("shape", [(1, 12, 6), (1, 7, 7, 30), (1, 5)])
def test_what_is_no_map_is_refused_with_its_shape(shape):
    with pytest.raises(SettingsError, match=r"stage 'odd' puts out .* for a picture, which is no map of its places"):
        as_map(torch.zeros(shape), "odd")


def test_a_vit_and_a_swin_are_explained_by_their_default_stages():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 64)
    vits = vit.build(vit.ViT(16, 24, 4, 3, 48, side=64), 3).eval()
    assert default_stages(vits, x) == ("stage3",)
    assert activation_map(vits, x, 1, "stage3").values.any()
    swins = swin.build(swin.Swin(12, (1, 1, 2, 1), (1, 2, 3, 4), (4, 4, 4, 2), 0.0), 3).eval()
    assert default_stages(swins, x) == ("stage4", "stage3")
    found = activation_map(swins, x, 1, "stage4")
    logits = swins(x)[0]
    bias = swins.get_submodule("head.fc").bias
    assert isinstance(bias, Tensor)
    lead = (logits - bias)[1] - (logits - bias)[[0, 2]].mean()
    assert found.exact
    torch.testing.assert_close(found.values.sum(), lead.detach())
    for net in (vits, swins):
        strips = [strip(name, out) for name, out in outputs(net, x).items() if name != "head"]
        assert all(one.side_px[0] == one.side_px[1] for one in strips)
