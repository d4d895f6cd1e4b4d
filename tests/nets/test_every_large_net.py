"""The nets of up to MOST_PARAMS parameters (members.py) that are not small, at one size and all at once.

Every parameter learns, nothing frozen moves, one picture and a batch agree, eval repeats, safetensors give the net.
"""

import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional as F

from tests.nets.members import LARGE
from tests.nets.test_every_net import agrees_and_repeats, batch, random_net, really_freezes


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_net_keeps_what_small_ones_promise(name):
    net, x = random_net(name), batch(name, 3)
    agrees_and_repeats(net.eval(), x)
    with torch.no_grad():
        expected, state = net(x), load(save(net.state_dict()))
        for tensor in net.state_dict().values():
            tensor.zero_()
        net.load_state_dict(state, assign=True)  # the state's own tensors: no third copy
        assert torch.equal(net(x), expected)
    F.cross_entropy(net.train()(x[:2]), torch.tensor([0, 3])).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        parameter.grad = None
    really_freezes(net, x[:2])
