"""torchvision's weights of the mobile, shuffled and scaled nets reach ours whole and give torchvision's answers.

The second way is written in torch.nn.functional with torchvision's names, from its sources and not from our tables. It
asks for a tensor by name and shape, so that running it once also gives the state dict that torchvision has.
"""

from collections.abc import Callable
from functools import partial
from math import ceil

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lineside.nets.catalog import NETS
from lineside.nets.weights import translate

Act = Callable[[Tensor], Tensor]


class State:
    """A state dict that grows as it is asked; random numbers, or none at all on the meta device."""

    def __init__(self, device: str, eps: float):
        self.tensors: dict[str, Tensor] = {}
        self.random = torch.Generator().manual_seed(0)
        self.device, self.eps = device, eps

    def of(self, key: str, *shape: int, low: float = -0.1, high: float = 0.1) -> Tensor:
        if key not in self.tensors:
            drawn = (
                torch.rand(shape, generator=self.random) if self.device == "cpu" else torch.empty(shape, device="meta")
            )
            self.tensors[key] = low + (high - low) * drawn
        assert self.tensors[key].shape == shape
        return self.tensors[key]

    def conv(self, x: Tensor, key: str, cout: int, k: int = 1, stride: int = 1, groups: int = 1) -> Tensor:
        cin = x.shape[1] // groups
        far = (6 / (cin * k * k)) ** 0.5
        return F.conv2d(
            x, self.of(f"{key}.weight", cout, cin, k, k, low=-far, high=far), None, stride, k // 2, 1, groups
        )

    def bn(self, x: Tensor, key: str) -> Tensor:
        c = x.shape[1]
        mean, var = self.of(f"{key}.running_mean", c), self.of(f"{key}.running_var", c, low=0.5, high=1.5)
        weight, bias = self.of(f"{key}.weight", c, low=0.5, high=1.5), self.of(f"{key}.bias", c)
        self.tensors[f"{key}.num_batches_tracked"] = torch.tensor(3, device=self.device)
        return F.batch_norm(x, mean, var, weight, bias, eps=self.eps)

    def linear(self, x: Tensor, key: str, cout: int) -> Tensor:
        return F.linear(x, self.of(f"{key}.weight", cout, x.shape[1]), self.of(f"{key}.bias", cout))

    def gate(self, x: Tensor, key: str, middle: int, act: Act, scale: Act) -> Tensor:
        pooled, c = x.mean((2, 3), keepdim=True), x.shape[1]
        shared = act(self.conv(pooled, f"{key}.fc1", middle) + self.of(f"{key}.fc1.bias", middle).view(-1, 1, 1))
        return x * scale(self.conv(shared, f"{key}.fc2", c) + self.of(f"{key}.fc2.bias", c).view(-1, 1, 1))


def divisible(v: float) -> int:
    found = max(8, int(v + 4) // 8 * 8)
    return found + 8 if found < 0.9 * v else found


def bottleneck(
    state: State, x: Tensor, key: str, k: int, hidden: int, cout: int, stride: int, act: Act, gate: Act | None
) -> Tensor:
    """InvertedResidual of mobilenetv3.py, MBConv of efficientnet.py: `block` is a Sequential of numbered layers."""
    y, number = x, 0
    if hidden != x.shape[1]:
        y, number = act(state.bn(state.conv(y, f"{key}.0.0", hidden), f"{key}.0.1")), 1
    y = state.conv(y, f"{key}.{number}.0", hidden, k, stride, hidden)
    y = act(state.bn(y, f"{key}.{number}.1"))
    if gate:
        y, number = gate(y, f"{key}.{number + 1}"), number + 1
    y = state.bn(state.conv(y, f"{key}.{number + 1}.0", cout), f"{key}.{number + 1}.1")
    return x + y if stride == 1 and x.shape[1] == cout else y


LARGE = """16 16 16 - RE 1, 16 64 24 - RE 2, 24 72 24 - RE 1,
24 72 40 SE RE 2 5, 40 120 40 SE RE 1 5, 40 120 40 SE RE 1 5,
80 240 80 - HS 2, 80 200 80 - HS 1, 80 184 80 - HS 1, 80 184 80 - HS 1, 80 480 112 SE HS 1, 112 672 112 SE HS 1,
112 672 160 SE HS 2 5, 160 960 160 SE HS 1 5, 160 960 160 SE HS 1 5"""
SMALL = """16 16 16 SE RE 2, 16 72 24 - RE 2, 24 88 24 - RE 1,
24 96 40 SE HS 2 5, 40 240 40 SE HS 1 5, 40 240 40 SE HS 1 5,
40 120 48 SE HS 1 5, 48 144 48 SE HS 1 5, 48 288 96 SE HS 2 5, 96 576 96 SE HS 1 5, 96 576 96 SE HS 1 5"""


def mobilenet_v3(state: State, x: Tensor, table: str, last: int, wide: int) -> Tensor:
    """mobilenetv3.py: _mobilenet_v3_conf; in the tables: input, expanded, output, SE, NL, stride, kernel if not 3."""
    x = F.hardswish(state.bn(state.conv(x, "features.0.0", 16, 3, 2), "features.0.1"))
    lines = [line.split() for line in table.replace("\n", " ").split(",")]
    for number, (_, hidden, cout, gated, act, stride, *k) in enumerate(lines, 1):
        middle = divisible(int(hidden) // 4)
        gate = partial(state.gate, middle=middle, act=F.relu, scale=F.hardsigmoid) if gated == "SE" else None
        nl, kernel = (F.hardswish if act == "HS" else F.relu), int(k[0]) if k else 3
        x = bottleneck(
            state, x, f"features.{number}.block", kernel, int(hidden), int(cout), int(stride), nl, gate
        )  # fmt: skip
    key = f"features.{len(lines) + 1}"
    x = F.hardswish(state.bn(state.conv(x, f"{key}.0", last), f"{key}.1")).mean((2, 3))
    return state.linear(F.hardswish(state.linear(x, "classifier.0", wide)), "classifier.3", 1000)


def efficientnet(state: State, x: Tensor, width: float, depth: float) -> Tensor:
    """efficientnet.py: _efficientnet_conf and MBConv, whose gate squeezes to a quarter of what the block is given."""
    x = F.silu(state.bn(state.conv(x, "features.0.0", divisible(32 * width), 3, 2), "features.0.1"))
    table = (
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
    )
    for i, (expansion, k, stride, cout, layers) in enumerate((*table, (6, 3, 1, 320, 1)), 1):
        for j in range(ceil(layers * depth)):
            gate = partial(state.gate, middle=max(1, x.shape[1] // 4), act=F.silu, scale=torch.sigmoid)
            hidden, c = x.shape[1] * expansion, divisible(cout * width)
            x = bottleneck(state, x, f"features.{i}.{j}.block", k, hidden, c, 1 if j else stride, F.silu, gate)
    x = F.silu(state.bn(state.conv(x, "features.8.0", 4 * x.shape[1]), "features.8.1")).mean((2, 3))
    return state.linear(x, "classifier.1", 1000)


def shufflenet_v2(state: State, x: Tensor, c2: int, c3: int, c4: int, c5: int) -> Tensor:
    """shufflenetv2.py; a branch is a Sequential of convolutions, batch norms and ReLUs, numbered alike."""

    def branch2(x: Tensor, key: str, c: int, stride: int) -> Tensor:
        x = F.relu(state.bn(state.conv(x, f"{key}.0", c), f"{key}.1"))
        x = state.bn(state.conv(x, f"{key}.3", c, 3, stride, c), f"{key}.4")
        return F.relu(state.bn(state.conv(x, f"{key}.5", c), f"{key}.6"))

    x = F.max_pool2d(F.relu(state.bn(state.conv(x, "conv1.0", 24, 3, 2), "conv1.1")), 3, 2, 1)
    for number, (channels, repeats) in enumerate(((c2, 4), (c3, 8), (c4, 4)), 2):
        for j in range(repeats):
            key, c = f"stage{number}.{j}", channels // 2
            if j:
                left, right = x[:, :c], branch2(x[:, c:], f"{key}.branch2", c, 1)
            else:
                cin = x.shape[1]
                left = state.bn(state.conv(x, f"{key}.branch1.0", cin, 3, 2, cin), f"{key}.branch1.1")
                left = F.relu(state.bn(state.conv(left, f"{key}.branch1.2", c), f"{key}.branch1.3"))
                right = branch2(x, f"{key}.branch2", c, 2)
            x = torch.stack([left, right], 2).flatten(1, 2)  # left 0, right 0, left 1, …
    x = F.relu(state.bn(state.conv(x, "conv5.0", c5), "conv5.1"))
    return state.linear(x.mean((2, 3)), "fc", 1000)


def mobilenet_v2(state: State, x: Tensor) -> Tensor:
    """mobilenetv2.py: the same layers as mobilenet_v3's, but `conv` numbers the last convolution and its norm apart."""
    x = F.relu6(state.bn(state.conv(x, "features.0.0", 32, 3, 2), "features.0.1"))
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    number = 0
    for t, c, n, s in table:
        for j in range(n):
            number += 1
            key, y, k, stride = f"features.{number}.conv", x, 0, 1 if j else s
            if t > 1:
                y, k = F.relu6(state.bn(state.conv(y, f"{key}.0.0", t * x.shape[1]), f"{key}.0.1")), 1
            y = state.conv(y, f"{key}.{k}.0", y.shape[1], 3, stride, y.shape[1])
            y = F.relu6(state.bn(y, f"{key}.{k}.1"))
            y = state.bn(state.conv(y, f"{key}.{k + 1}", c), f"{key}.{k + 2}")
            x = x + y if stride == 1 and x.shape[1] == c else y
    x = F.relu6(state.bn(state.conv(x, "features.18.0", 1280), "features.18.1")).mean((2, 3))
    return state.linear(x, "classifier.1", 1000)


TORCHVISION: dict[str, tuple[float, Callable[[State, Tensor], Tensor]]] = {  # eps of its batch norms, its answer
    "mobilenet_v2": (1e-5, mobilenet_v2),
    "mobilenet_v3_large": (1e-3, partial(mobilenet_v3, table=LARGE, last=960, wide=1280)),
    "mobilenet_v3_small": (1e-3, partial(mobilenet_v3, table=SMALL, last=576, wide=1024)),
    "shufflenet_v2_x0_5": (1e-5, partial(shufflenet_v2, c2=48, c3=96, c4=192, c5=1024)),
    "shufflenet_v2_x1_0": (1e-5, partial(shufflenet_v2, c2=116, c3=232, c4=464, c5=1024)),
    "shufflenet_v2_x1_5": (1e-5, partial(shufflenet_v2, c2=176, c3=352, c4=704, c5=1024)),
    "shufflenet_v2_x2_0": (1e-5, partial(shufflenet_v2, c2=244, c3=488, c4=976, c5=2048)),
    "efficientnet_b0": (1e-5, partial(efficientnet, width=1.0, depth=1.0)),
    "efficientnet_b1": (1e-5, partial(efficientnet, width=1.0, depth=1.1)),
    "efficientnet_b2": (1e-5, partial(efficientnet, width=1.1, depth=1.2)),
    "efficientnet_b3": (1e-5, partial(efficientnet, width=1.2, depth=1.4)),
    "efficientnet_b4": (1e-5, partial(efficientnet, width=1.4, depth=1.8)),
    "efficientnet_b5": (1e-3, partial(efficientnet, width=1.6, depth=2.2)),
    "efficientnet_b6": (1e-3, partial(efficientnet, width=1.8, depth=2.6)),
    "efficientnet_b7": (1e-3, partial(efficientnet, width=2.0, depth=3.1)),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_names_and_shapes_are_covered(name):
    eps, answer = TORCHVISION[name]
    state = State("meta", eps)
    answer(state, torch.empty(1, 3, 64, 64, device="meta"))
    with torch.device("meta"):
        net = NETS[name].build(1000)
    for row in NETS[name].weights:
        found = translate(state.tensors, row.names(), net, row.place)
        assert found.keys() == net.state_dict().keys()
    learnt = [v for k, v in state.tensors.items() if not k.rpartition(".")[2].startswith(("running", "num_"))]
    assert sum(v.numel() for v in learnt) == NETS[name].params


@pytest.mark.parametrize(
    "name",
    [
        *["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "shufflenet_v2_x0_5", "shufflenet_v2_x1_5"],
        *["efficientnet_b0", "efficientnet_b2", "efficientnet_b5"],
    ],
)
def test_the_same_weights_give_the_same_logits(name):
    eps, answer = TORCHVISION[name]
    state, x = State("cpu", eps), torch.randn(2, 3, 64, 64, generator=torch.manual_seed(1))
    with torch.no_grad():
        theirs = answer(state, x)
        net = NETS[name].build(1000)
        net.load_state_dict(translate(state.tensors, NETS[name].weights[0].names(), net, "here"))
        ours = net.eval()(x)
    assert theirs.std() > 0
    torch.testing.assert_close(ours, theirs, atol=1e-4 * theirs.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("name", [n for n, row in NETS.items() if n in TORCHVISION])
def test_every_net_of_torchvision_has_a_row_of_weights(name):
    places = [row.place for row in NETS[name].weights]
    assert places
    assert all(place.startswith("https://download.pytorch.org/models/") for place in places)
