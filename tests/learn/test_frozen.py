"""What runs the frozen stages gives what the stages give, for any batch, in either precision."""

import pytest
import torch

from lineside.learn.frozen import TOGETHER, frozen
from lineside.nets.catalog import NETS
from lineside.nets.stages import split_at


@pytest.fixture(scope="module")
def below():
    torch.manual_seed(0)
    return split_at(NETS["efficientnet_lite0"].build(3), "stage3")[0].eval()


@pytest.mark.parametrize(("precision", "off"), [("float32", 1e-5), ("bfloat16", 0.02)])  # of 8 bits, several times
def test_it_gives_what_the_stages_give_for_any_batch(below, precision, off):
    run = frozen(below, torch.zeros(1, 3, 64, 64), precision)
    for n in (1, TOGETHER, TOGETHER + 1):
        x = torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(n))
        with torch.no_grad():
            expected = below(x)
        assert (run(x).float() - expected).norm() < off * expected.norm()


def test_a_picture_has_the_same_features_whatever_it_is_computed_with(below):
    run = frozen(below, torch.zeros(1, 3, 64, 64), "bfloat16")
    x = torch.randn(3 * TOGETHER, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run(x)[TOGETHER : 2 * TOGETHER], run(x[TOGETHER : 2 * TOGETHER]))
    assert next(below.parameters()).dtype != torch.bfloat16, "the net that is trained on keeps its float32"
