"""Every net by name: NETS of pictures, SIGNALS of signals. Adding a family: write its file, add one line here."""

from difflib import get_close_matches

from lineside.errors import SettingsError
from lineside.nets import (
    alexnet,
    coatnet,
    densenet,
    efficientnet,
    efficientnet_lite,
    from_timm,
    googlenet,
    inception,
    inception_v4,
    lenet,
    linear,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    nasnet,
    preact,
    resnet,
    resnet_cifar,
    resnet_paper,
    resnext,
    senet,
    shufflenet_v1,
    shufflenet_v2,
    signals,
    swin,
    vgg,
    vit,
    vmoe,
    wide,
    zfnet,
)
from lineside.nets.net import Net, Signal

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
    **efficientnet_lite.NETS,
    **mobilenet_v1.NETS,
    **mobilenet_v2.NETS,
    **mobilenet_v3.NETS,
    **shufflenet_v1.NETS,
    **shufflenet_v2.NETS,
    **efficientnet.NETS,
    **nasnet.NETS,
    **vit.NETS,
    **swin.NETS,
    **coatnet.NETS,
    **vmoe.NETS,
}

SIGNALS: dict[str, Signal] = signals.SIGNALS


def find(name: str) -> Net:
    """The net of pictures of this name, or timm's for "timm:NAME".

    SettingsError with the nearest names if there is none; MissingExtra where timm is asked for and not installed.
    """
    if name.startswith(from_timm.PREFIX):
        return from_timm.find(name)
    if name in SIGNALS:
        raise SettingsError(
            f"net {name!r} reads signals (channels, samples), not pictures; name a net of pictures, such as resnet18"
        )
    if name not in NETS:
        near = get_close_matches(name, NETS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"nets: {', '.join(NETS)}"
        raise SettingsError(f"net {name!r} is not known; {hint}")
    return NETS[name]
