"""What runs the frozen stages gives what the stages give, for any batch."""

import torch

from lineside.learn.frozen import frozen
from lineside.nets.catalog import NETS
from lineside.nets.stages import split_at


def test_it_gives_what_the_stages_give_for_any_batch():
    torch.manual_seed(0)
    below = split_at(NETS["efficientnet_lite0"].build(3), "stage3")[0].eval()
    run = frozen(below, torch.zeros(1, 3, 64, 64))
    for n in (1, 5):
        x = torch.randn(n, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(run(x), below(x), rtol=1e-4, atol=1e-4)
