"""Where torchvision can be imported: its net's weights in ours, and both say the same."""

import pytest
import torch
from torch import nn

from lineside.nets.catalog import NETS
from lineside.nets.weights import learnt, translate

LARGEST = 100_000_000  # parameters that two copies are made of
MADE = [
    name
    for name, row in NETS.items()
    if row.weights and row.weights[0].source.startswith(f"torchvision, {name} ") and row.params < LARGEST
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_weights_of_torchvisions_net_give_torchvisions_logits(name):
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    theirs, row = getattr(models, name)().eval(), NETS[name]
    for parameter in theirs.parameters():
        if parameter.dim() < 2 or not parameter.any():  # what begins as zero or one, or all alike, would hide a mistake
            nn.init.normal_(parameter, 0.1, 0.2)
    ours = row.build(row.classes).eval()
    ours.load_state_dict(translate(learnt(theirs.state_dict(), row.weights[0]), row.weights[0].names(), ours, name))
    x = torch.randn(2, 3, row.size_px, row.size_px)
    with torch.no_grad():
        want = theirs(x)
        torch.testing.assert_close(ours(x), want, atol=1e-4 * want.abs().max().item(), rtol=1e-4)
