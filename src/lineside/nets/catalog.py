"""Every net by name. Adding a family: write its file, add one line here."""

from difflib import get_close_matches

from lineside.errors import SettingsError
from lineside.nets import (
    alexnet,
    densenet,
    efficientnet_lite,
    googlenet,
    inception,
    inception_v4,
    lenet,
    linear,
    mobilenet,
    preact,
    resnet,
    resnet_cifar,
    resnet_paper,
    resnext,
    senet,
    vgg,
    wide,
    zfnet,
)
from lineside.nets.net import Net

NETS: dict[str, Net] = {
    **linear.NETS,
    **lenet.NETS,
    **alexnet.NETS,
    **zfnet.NETS,
    **vgg.NETS,
    **googlenet.NETS,
    **inception.NETS,
    **inception_v4.NETS,
    **resnet.NETS,
    **resnet_paper.NETS,
    **resnet_cifar.NETS,
    **preact.NETS,
    **wide.NETS,
    **resnext.NETS,
    **senet.NETS,
    **densenet.NETS,
    **mobilenet.NETS,
    **efficientnet_lite.NETS,
}


def find(name: str) -> Net:
    """The net of this name; SettingsError with the nearest names if there is none."""
    if name not in NETS:
        near = get_close_matches(name, NETS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"nets: {', '.join(NETS)}"
        raise SettingsError(f"net {name!r} is not known; {hint}")
    return NETS[name]
