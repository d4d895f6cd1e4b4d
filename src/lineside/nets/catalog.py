"""Every net by name. Adding a family: write its file, add one line here."""

from difflib import get_close_matches

from lineside.errors import SettingsError
from lineside.nets import coatnet, efficientnet_lite, lenet, mobilenet, resnet, swin, vit, vmoe
from lineside.nets.net import Net

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


def find(name: str) -> Net:
    """The net of this name; SettingsError with the nearest names if there is none."""
    if name not in NETS:
        near = get_close_matches(name, NETS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"nets: {', '.join(NETS)}"
        raise SettingsError(f"net {name!r} is not known; {hint}")
    return NETS[name]
