"""The depthwise layer's own gradients are those of torch's float32 convolution, up to bfloat16's rounding."""

import pytest
import torch
import torch.nn.functional as F

from lineside.nets.depthwise import Depthwise
from lineside.nets.efficientnet_lite import NETS

ROUNDING = 2**-7  # relative: two roundings of bfloat16's 8 bits


def near(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.shape == want.shape
    assert (got.float() - want).norm() < ROUNDING * want.norm()


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_gradients_are_those_of_float32(k, stride, padding):
    torch.manual_seed(0)
    layer, x = Depthwise(6, k, stride, padding), torch.randn(3, 6, 13, 16).bfloat16().float()
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    grad = torch.randn_like(y.float()).bfloat16()
    y.backward(grad)

    peer_x, peer_weight = x.detach().clone().requires_grad_(), layer.weight.detach().clone().requires_grad_()
    peer = F.conv2d(peer_x, peer_weight, None, stride, padding, groups=6)
    peer.backward(grad.float())
    near(y, peer.detach())
    assert layer.weight.grad is not None
    assert x.grad is not None
    near(layer.weight.grad, peer_weight.grad)
    near(x.grad, peer_x.grad)


def test_a_frozen_layer_asks_for_no_kernel_gradient():
    layer, x = Depthwise(4, 5, 1, 2).requires_grad_(False), torch.randn(1, 4, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    assert x.grad.any()


def test_in_float32_it_is_torchs_convolution_bit_for_bit():
    torch.manual_seed(0)
    layer, x = Depthwise(4, 5, 2, 2), torch.randn(2, 4, 9, 9)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, None, 2, 2, groups=4))


def test_nets_are_made_of_it():
    kinds = [type(m) for m in NETS["efficientnet_lite0"].build(4).modules() if getattr(m, "groups", 1) > 1]
    assert kinds == [Depthwise] * 16
