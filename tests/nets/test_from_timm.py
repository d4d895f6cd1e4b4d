"""timm's nets by name, against a stand-in package with timm's real function names."""

import copy
import json
import sys

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from lineside.cli.main import main
from lineside.errors import MissingExtra, SettingsError
from lineside.nets import from_timm
from lineside.nets.catalog import NETS, find
from lineside.nets.parts import pool_by
from lineside.nets.stages import freeze_below, split_at
from lineside.nets.weights import load_weights

STAND_IN = """
import fnmatch
import torch
from torch import nn

__version__ = "1.0.stand-in"


class Head(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x, pre_logits=False):
        x = self.norm(x)
        return x if pre_logits else self.fc(x)


class Maps(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, 48, 48), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
        self.num_classes, self.num_features = num_classes, width
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, 4, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.head = Head(width, num_classes)

    def forward_features(self, x):
        return self.body(x)

    def forward_head(self, x, pre_logits=False):
        return self.head(x.mean((2, 3)), pre_logits)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))

    def get_classifier(self):
        return self.head.fc


class Tokens(Maps):
    def forward_features(self, x):
        x = self.body(x).flatten(2).transpose(1, 2)
        return torch.cat([x[:, :1], x], 1)

    def forward_head(self, x, pre_logits=False):
        return self.head(x[:, 0], pre_logits)


class Two(Maps):
    def get_classifier(self):
        return self.head.fc, self.head.fc


class Grey(Maps):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.pretrained_cfg = {"input_size": (1, 48, 48)}


MODELS = {"maps_small": Maps, "tokens_small": Tokens, "two_heads": Two, "grey": Grey}


def is_model(name):
    return name.split(".")[0] in MODELS


def list_models(filter=""):
    return [name for name in MODELS if fnmatch.fnmatch(name, filter)]


def create_model(name, pretrained=False, num_classes=1000, **kwargs):
    assert not pretrained
    return MODELS[name.split(".")[0]](num_classes)
"""


@pytest.fixture
def timm(tmp_path, monkeypatch):
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    from_timm.find.cache_clear()
    yield from_timm.load()
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    from_timm.find.cache_clear()


def test_the_row_says_what_timm_says(timm):
    row = find("timm:maps_small")
    assert (row.mean, row.std, row.size_px) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 48)
    assert row.params == 8 * 27 + 16 + 16 + 9 * 1000
    assert row.macs == 144 * 8 * 27 + 8 * 1000
    assert [(s.name, s.channels, s.stride, s.tokens) for s in row.stages] == [("stem", 8, 4, False)]
    assert row.weights == ()
    assert "timm:maps_small" not in NETS
    (tokens,) = find("timm:tokens_small.some_tag").stages
    assert (tokens.channels, tokens.stride, tokens.tokens) == (8, 4, True)


@pytest.mark.parametrize("name", ["maps_small", "tokens_small"])
def test_our_two_stages_give_timms_answer_learn_save_and_are_copied(timm, name):
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=5).eval()
    net, x = find(f"timm:{name}").build(5).eval(), torch.randn(2, 3, 48, 48)
    state = {f"stem.features.model.{k}": v for k, v in theirs.state_dict().items() if not k.startswith("head.fc")}
    net.load_state_dict({**state, **{f"head.fc.{k}": v for k, v in theirs.get_classifier().state_dict().items()}})
    with torch.no_grad():
        torch.testing.assert_close(net(x), theirs(x))
        below, above = split_at(net, "head.fc")
        torch.testing.assert_close(above(below(x)), theirs(x))
    assert load(save(net.state_dict())).keys() == net.state_dict().keys()
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    other = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        torch.testing.assert_close(other(x), theirs(x))  # its pool is its own model's, not the first one's


def test_a_new_head_freezing_and_what_does_not_work(timm):
    net = load_weights("timm:maps_small", 3)
    freeze_below(net, "head")
    assert {key for key, p in net.named_parameters() if p.requires_grad} == {"head.fc.weight", "head.fc.bias"}
    assert isinstance(net.get_submodule("head.fc"), nn.Linear)
    with pytest.raises(SettingsError, match="this net pools no last maps"):
        pool_by(net, 3.0)
    with pytest.raises(SettingsError, match=r"'timm:two_heads' does not end in one linear layer"):
        find("timm:two_heads")
    with pytest.raises(SettingsError, match=r"'timm:grey' sees 1 channels; this program gives a net RGB"):
        find("timm:grey")
    with pytest.raises(SettingsError, match=r"timm 1\.0\.stand-in has no model 'small'; near it are: maps_small, tok"):
        find("timm:small")


def test_without_timm_the_sentence_says_how_to_get_it(monkeypatch):
    from_timm.find.cache_clear()
    monkeypatch.setattr(from_timm, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"a net named timm:… needs timm, .*pip install 'lineside\[timm\]'"):
        find("timm:resnet50")


def test_its_cost_is_counted_and_its_page_written(timm, tmp_path, capsys):
    assert main(["cost", "timm:maps_small", "--json", "--csv", str(tmp_path / "c.csv")]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["params"], found["macs"]) == (8 * 27 + 16 + 16 + 9 * 1000, 144 * 8 * 27 + 8 * 1000)
    assert sum(layer["params"] for layer in found["layers"]) == found["params"]
    assert "stem.features.model.body.0" in (tmp_path / "c.csv").read_text()
    assert main(["cost", "timm:tokens_small", "lenet5", "--html", str(tmp_path / "cost.html")]) == 0
    assert "timm:tokens_small" in (tmp_path / "cost.html").read_text()
    assert main(["cost", "timm:maps_small", "--measure"]) == 0
    assert "timm 1.0.stand-in, maps_small" in capsys.readouterr().out
    assert main(["cost", "timm:nothing"]) == 2
