"""torchvision's files of AlexNet, VGG, GoogLeNet and Inception-v3 fit our nets, and give torchvision's answers.

Names and shapes are written here from torchvision's sources, not from our tables, and the nets a second time in
torch.nn.functional over those names.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lineside.errors import TrainError
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from lineside.nets.weights import learnt, translate

Shapes = dict[str, tuple[int, ...]]
VGG = {  # maps of the convolutions; 0 is a pool
    "vgg11": (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    "vgg13": (64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    "vgg16": (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0),
    "vgg19": (64, 64, 0, 128, 128, 0, *(256,) * 4, 0, *(512,) * 4, 0, *(512,) * 4, 0),
}
GOOGLENET = {  # maps in: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
NAMES = ("alexnet", *VGG, *(f"{name}_bn" for name in VGG), "googlenet", "inception_v3")


def with_bias(key: str, *shape: int) -> Shapes:
    return {f"{key}.weight": shape, f"{key}.bias": shape[:1]}


def norm(key: str, c: int) -> Shapes:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{key}.{leaf}": (c,) for leaf in leaves} | {f"{key}.num_batches_tracked": ()}


def unit(key: str, cout: int, cin: int, rows: int, columns: int | None = None) -> Shapes:
    """torchvision's BasicConv2d."""
    return {f"{key}.conv.weight": (cout, cin, rows, columns or rows)} | norm(f"{key}.bn", cout)


def alexnet_shapes() -> Shapes:
    shapes: Shapes = {}
    for number, cout, cin, k in (
        (0, 64, 3, 11),
        (3, 192, 64, 5),
        (6, 384, 192, 3),
        (8, 256, 384, 3),
        (10, 256, 256, 3),
    ):
        shapes |= with_bias(f"features.{number}", cout, cin, k, k)
    shapes |= with_bias("classifier.1", 4096, 9216) | with_bias("classifier.4", 4096, 4096)
    return shapes | with_bias("classifier.6", 1000, 4096)


def vgg_shapes(name: str) -> Shapes:
    shapes, number, cin, bn = Shapes(), 0, 3, name.endswith("_bn")
    for cout in VGG[name.removesuffix("_bn")]:
        if cout == 0:
            number += 1
            continue
        shapes |= with_bias(f"features.{number}", cout, cin, 3, 3)
        if bn:
            shapes |= norm(f"features.{number + 1}", cout)
        number, cin = number + 2 + bn, cout
    shapes |= with_bias("classifier.0", 4096, 512 * 49) | with_bias("classifier.3", 4096, 4096)
    return shapes | with_bias("classifier.6", 1000, 4096)


def googlenet_shapes() -> Shapes:
    shapes = unit("conv1", 64, 3, 7) | unit("conv2", 64, 64, 1) | unit("conv3", 192, 64, 3)
    for name, (cin, one, reduce3, three, reduce5, five, pool) in GOOGLENET.items():
        at = f"inception{name}"
        shapes |= unit(f"{at}.branch1", one, cin, 1)
        shapes |= unit(f"{at}.branch2.0", reduce3, cin, 1) | unit(f"{at}.branch2.1", three, reduce3, 3)
        shapes |= unit(f"{at}.branch3.0", reduce5, cin, 1) | unit(f"{at}.branch3.1", five, reduce5, 3)
        shapes |= unit(f"{at}.branch4.1", pool, cin, 1)
    for i, cin in ((1, 512), (2, 528)):
        shapes |= unit(f"aux{i}.conv", 128, cin, 1)
        shapes |= with_bias(f"aux{i}.fc1", 1024, 2048) | with_bias(f"aux{i}.fc2", 1000, 1024)
    return shapes | with_bias("fc", 1000, 1024)


def inception_shapes() -> Shapes:
    shapes: Shapes = {}
    stem = (("1a_3x3", 32, 3, 3), ("2a_3x3", 32, 32, 3), ("2b_3x3", 64, 32, 3), ("3b_1x1", 80, 64, 1))
    for key, *shape in (*stem, ("4a_3x3", 192, 80, 3)):
        shapes |= unit(f"Conv2d_{key}", *shape)
    for name, cin, pool in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        at = f"Mixed_{name}.branch"
        shapes |= unit(f"{at}1x1", 64, cin, 1) | unit(f"{at}5x5_1", 48, cin, 1) | unit(f"{at}5x5_2", 64, 48, 5)
        shapes |= unit(f"{at}3x3dbl_1", 64, cin, 1) | unit(f"{at}3x3dbl_2", 96, 64, 3)
        shapes |= unit(f"{at}3x3dbl_3", 96, 96, 3) | unit(f"{at}_pool", pool, cin, 1)
    at = "Mixed_6a.branch"
    shapes |= unit(f"{at}3x3", 384, 288, 3) | unit(f"{at}3x3dbl_1", 64, 288, 1)
    shapes |= unit(f"{at}3x3dbl_2", 96, 64, 3) | unit(f"{at}3x3dbl_3", 96, 96, 3)
    for name, c in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        at = f"Mixed_{name}.branch"
        shapes |= unit(f"{at}1x1", 192, 768, 1) | unit(f"{at}_pool", 192, 768, 1)
        shapes |= unit(f"{at}7x7_1", c, 768, 1) | unit(f"{at}7x7_2", c, c, 1, 7) | unit(f"{at}7x7_3", 192, c, 7, 1)
        shapes |= unit(f"{at}7x7dbl_1", c, 768, 1) | unit(f"{at}7x7dbl_2", c, c, 7, 1)
        shapes |= unit(f"{at}7x7dbl_3", c, c, 1, 7) | unit(f"{at}7x7dbl_4", c, c, 7, 1)
        shapes |= unit(f"{at}7x7dbl_5", 192, c, 1, 7)
    at = "Mixed_7a.branch"
    shapes |= unit(f"{at}3x3_1", 192, 768, 1) | unit(f"{at}3x3_2", 320, 192, 3)
    shapes |= unit(f"{at}7x7x3_1", 192, 768, 1) | unit(f"{at}7x7x3_2", 192, 192, 1, 7)
    shapes |= unit(f"{at}7x7x3_3", 192, 192, 7, 1) | unit(f"{at}7x7x3_4", 192, 192, 3)
    for name, cin in (("7b", 1280), ("7c", 2048)):
        at = f"Mixed_{name}.branch"
        shapes |= unit(f"{at}1x1", 320, cin, 1) | unit(f"{at}_pool", 192, cin, 1)
        shapes |= unit(f"{at}3x3_1", 384, cin, 1) | unit(f"{at}3x3dbl_1", 448, cin, 1)
        shapes |= unit(f"{at}3x3dbl_2", 384, 448, 3)
        for both in ("3x3_2", "3x3dbl_3"):
            shapes |= unit(f"{at}{both}a", 384, 384, 1, 3) | unit(f"{at}{both}b", 384, 384, 3, 1)
    shapes |= unit("AuxLogits.conv0", 128, 768, 1) | unit("AuxLogits.conv1", 768, 128, 5)
    return shapes | with_bias("AuxLogits.fc", 1000, 768) | with_bias("fc", 1000, 2048)


def shapes_of(name: str) -> Shapes:
    if name in ("alexnet", "googlenet", "inception_v3"):
        return {"alexnet": alexnet_shapes, "googlenet": googlenet_shapes, "inception_v3": inception_shapes}[name]()
    return vgg_shapes(name)


def drawn(shapes: Shapes) -> dict[str, Tensor]:
    """Numbers of such shapes that let something through: weights after their fan, variances and gains positive."""
    generator, state = torch.Generator().manual_seed(0), {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(3)
        elif len(shape) > 1:
            state[key] = torch.randn(shape, generator=generator) * (2 / torch.Size(shape[1:]).numel()) ** 0.5
        elif key.endswith(("running_var", "weight")):
            state[key] = torch.rand(shape, generator=generator) + 0.5
        else:
            state[key] = torch.randn(shape, generator=generator) * 0.1
    return state


class Second:
    """torchvision's forward passes over a state dict."""

    def __init__(self, state: dict[str, Tensor]):
        self.state = state

    def bn(self, x: Tensor, key: str, eps: float) -> Tensor:
        mean, var = self.state[f"{key}.running_mean"], self.state[f"{key}.running_var"]
        return F.batch_norm(x, mean, var, self.state[f"{key}.weight"], self.state[f"{key}.bias"], eps=eps)

    def unit(self, x: Tensor, key: str, stride: int = 1, pad: bool = True) -> Tensor:
        weight = self.state[f"{key}.conv.weight"]
        padding = (weight.shape[2] // 2, weight.shape[3] // 2) if pad else 0
        return F.relu(self.bn(F.conv2d(x, weight, None, stride, padding), f"{key}.bn", 1e-3))

    def linear(self, x: Tensor, key: str) -> Tensor:
        return F.linear(x, self.state[f"{key}.weight"], self.state[f"{key}.bias"])

    def conv(self, x: Tensor, key: str, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, self.state[f"{key}.weight"], self.state[f"{key}.bias"], stride, padding)

    def alexnet(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x, "features.0", 4, 2)), 3, 2)
        x = F.max_pool2d(F.relu(self.conv(x, "features.3", 1, 2)), 3, 2)
        for number in (6, 8, 10):
            x = F.relu(self.conv(x, f"features.{number}", 1, 1))
        x = F.adaptive_avg_pool2d(F.max_pool2d(x, 3, 2), 6).flatten(1)
        return self.linear(F.relu(self.linear(F.relu(self.linear(x, "classifier.1")), "classifier.4")), "classifier.6")

    def vgg(self, x: Tensor, name: str) -> Tensor:
        number, bn = 0, name.endswith("_bn")
        for cout in VGG[name.removesuffix("_bn")]:
            if cout == 0:
                x, number = F.max_pool2d(x, 2), number + 1
                continue
            x = self.conv(x, f"features.{number}", 1, 1)
            x = F.relu(self.bn(x, f"features.{number + 1}", 1e-5) if bn else x)
            number += 2 + bn
        x = F.adaptive_avg_pool2d(x, 7).flatten(1)
        return self.linear(F.relu(self.linear(F.relu(self.linear(x, "classifier.0")), "classifier.3")), "classifier.6")

    def googlenet(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.unit(x, "conv1", 2), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.unit(self.unit(x, "conv2"), "conv3"), 3, 2, ceil_mode=True)
        for name in GOOGLENET:
            at = f"inception{name}"
            if name in ("4a", "5a"):
                x = F.max_pool2d(x, 3 if name == "4a" else 2, 2, ceil_mode=True)
            two, three = (self.unit(self.unit(x, f"{at}.branch{i}.0"), f"{at}.branch{i}.1") for i in (2, 3))
            four = self.unit(F.max_pool2d(x, 3, 1, 1), f"{at}.branch4.1")
            x = torch.cat([self.unit(x, f"{at}.branch1"), two, three, four], 1)
        return self.linear(x.mean((2, 3)), "fc")

    def chain(self, x: Tensor, key: str, n: int) -> Tensor:
        for i in range(1, n + 1):
            x = self.unit(x, f"{key}_{i}")
        return x

    def inception_v3(self, x: Tensor) -> Tensor:
        x = self.unit(self.unit(x, "Conv2d_1a_3x3", 2, pad=False), "Conv2d_2a_3x3", pad=False)
        x = F.max_pool2d(self.unit(x, "Conv2d_2b_3x3"), 3, 2)
        x = F.max_pool2d(self.unit(self.unit(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3", pad=False), 3, 2)
        for name in ("5b", "5c", "5d"):
            at = f"Mixed_{name}.branch"
            pool = self.unit(F.avg_pool2d(x, 3, 1, 1), f"{at}_pool")
            five, three = self.chain(x, f"{at}5x5", 2), self.chain(x, f"{at}3x3dbl", 3)
            x = torch.cat([self.unit(x, f"{at}1x1"), five, three, pool], 1)
        at = "Mixed_6a.branch"
        twice = self.unit(self.chain(x, f"{at}3x3dbl", 2), f"{at}3x3dbl_3", 2, pad=False)
        x = torch.cat([self.unit(x, f"{at}3x3", 2, pad=False), twice, F.max_pool2d(x, 3, 2)], 1)
        for name in ("6b", "6c", "6d", "6e"):
            at = f"Mixed_{name}.branch"
            pool = self.unit(F.avg_pool2d(x, 3, 1, 1), f"{at}_pool")
            seven, twice = self.chain(x, f"{at}7x7", 3), self.chain(x, f"{at}7x7dbl", 5)
            x = torch.cat([self.unit(x, f"{at}1x1"), seven, twice, pool], 1)
        at = "Mixed_7a.branch"
        three = self.unit(self.unit(x, f"{at}3x3_1"), f"{at}3x3_2", 2, pad=False)
        seven = self.unit(self.chain(x, f"{at}7x7x3", 3), f"{at}7x7x3_4", 2, pad=False)
        x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
        for name in ("7b", "7c"):
            at = f"Mixed_{name}.branch"
            pool = self.unit(F.avg_pool2d(x, 3, 1, 1), f"{at}_pool")
            three, twice = self.unit(x, f"{at}3x3_1"), self.chain(x, f"{at}3x3dbl", 2)
            forks = [self.unit(three, f"{at}3x3_2{i}") for i in "ab"] + [
                self.unit(twice, f"{at}3x3dbl_3{i}") for i in "ab"
            ]
            x = torch.cat([self.unit(x, f"{at}1x1"), *forks, pool], 1)
        return self.linear(x.mean((2, 3)), "fc")

    def answer(self, name: str, x: Tensor) -> Tensor:
        if name.startswith("vgg"):
            return self.vgg(x, name)
        return {"alexnet": self.alexnet, "googlenet": self.googlenet, "inception_v3": self.inception_v3}[name](x)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_torchvision_fit(name):
    """Every tensor has its place, by name and shape; what is left out is left out on purpose."""
    row = NETS[name].weights[0]
    with torch.device("meta"):
        net = NETS[name].build(1000)
        state = {key: torch.empty(shape) for key, shape in shapes_of(name).items()}
    assert translate(learnt(state, row), row.names(), net, "here").keys() == net.state_dict().keys()
    assert all(any(key.startswith(beginning) for key in state) for beginning in row.left_out)
    if row.left_out:
        with pytest.raises(TrainError, match=r"that the net has no place for, such as (aux1|AuxLogits)\."):
            translate(state, row.names(), net, "here")


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", 79), ("vgg11", 32), ("vgg11_bn", 32), ("googlenet", 97), ("inception_v3", 107)]
)
def test_they_give_the_same_logits(name, size):
    row, state = NETS[name].weights[0], drawn(shapes_of(name))
    with torch.device("meta"):
        net = NETS[name].build(1000)
    net.load_state_dict(translate(learnt(state, row), row.names(), net, "here"), assign=True)
    x = torch.randn(2, 3, size, size, generator=torch.manual_seed(1))
    with torch.no_grad():
        ours, theirs = net.eval()(x), Second(state).answer(name, x)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4 * theirs.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_pictures_mean_and_std_are_what_transform_input_leaves(name):
    """torchvision normalises by ImageNet's mean and std, then undoes it within the net: together what our row says."""
    row = NETS[name]
    pictures = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    x = Input(64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(pictures)
    transformed = [
        x[:, i] * (std / 0.5) + (mean - 0.5) / 0.5
        for i, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)])
    ]
    torch.testing.assert_close(Input(64, row.mean, row.std)(pictures), torch.stack(transformed, 1), atol=1e-6, rtol=0)
