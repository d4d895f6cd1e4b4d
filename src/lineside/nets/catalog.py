"""Every net by name: NETS of pictures, SIGNALS of signals. Adding a family: write its file, add one line here."""

from difflib import get_close_matches

from lineside.errors import SettingsError
from lineside.nets import (
    coatnet,
    efficientnet_lite,
    from_timm,
    lenet,
    mobilenet,
    resnet,
    signals,
    swin,
    vit,
    vmoe,
)
from lineside.nets.net import Net, Signal

NETS: dict[str, Net] = {
    **lenet.NETS,
    **resnet.NETS,
    **mobilenet.NETS,
    **efficientnet_lite.NETS,
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
