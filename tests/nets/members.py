"""Which nets are held to tests that compute: small ones and the smallest of each family to each of them, larger ones to
the most of them at once, as far as memory goes."""

from functools import partial

from lineside.nets.catalog import NETS
from lineside.nets.net import Net

SMALL_PARAMS = 15_000_000


def family(row: Net) -> str:
    """The module that builds the net."""
    return (row.build.func if isinstance(row.build, partial) else row.build).__module__


def _least(of: str) -> int:
    return min(row.params for row in NETS.values() if family(row) == of)


SMALLEST = [name for name, row in NETS.items() if row.params == _least(family(row))]
SMALL = [name for name, row in NETS.items() if row.params <= SMALL_PARAMS or name in SMALLEST]
# The rest up to here: a second or two and 1 GB each. What is larger (zfnet_512_1024_512 and VGG-13 to vmoe_15b, whose
# weights are 59 GB) is only built and run on the meta device: shapes, parameters, MACs, gradients' shapes.
MOST_PARAMS = 90_000_000
LARGE = [name for name, row in NETS.items() if name not in SMALL and row.params <= MOST_PARAMS]

# In eval and untrained, what a residual block adds is as large as what it is added to: of 333 blocks no float holds the
# sum, and the graph takes a minute and a half to export. preact_resnet164 is the same expression.
TOO_DEEP = ("preact_resnet1001",)
FINITE = [name for name in SMALL if name not in TOO_DEEP]  # as built, without statistics of their own
