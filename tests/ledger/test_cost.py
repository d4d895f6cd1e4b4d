"""What an operation costs: by hand, by torch's own counter, and on whatever a user's module may do."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lineside.errors import SettingsError
from lineside.ledger import cost
from lineside.ledger.convention import CONVENTIONS
from lineside.ledger.layers import collapse, lines
from lineside.ledger.shapes import SHAPES
from lineside.ledger.trace import ON_ZEROS
from lineside.nets.catalog import NETS
from tests.ledger.test_field import Run


def in_meta(name: str) -> nn.Sequential:
    with torch.device("meta"):
        return NETS[name].build(NETS[name].classes)


@pytest.mark.parametrize("name", NETS)
def test_the_rows_of_every_net_add_up(name):
    """To the published parameters and MACs, as rows, as a table's lines and as collapsed groups, in each convention."""
    row, net = NETS[name], in_meta(name)
    found = cost(net, (1, 3, row.size_px, row.size_px))
    assert (sum(r.params for r in found.rows), found.unread) == (row.params, ())
    assert sum(r.macs for r in found.rows) == row.macs
    assert found.notes == ()
    for convention in CONVENTIONS.values():
        shown = lines(found, convention)
        groups = collapse(shown)
        again = [line for group in groups for run in group.runs for line in run]
        assert [line.row.path for line in again] == [line.row.path for line in shown]
        assert sum(g.times * line.params for g in groups for line in g.runs[0]) == row.params
        assert sum(g.times * line.row.macs for g in groups for line in g.runs[0]) == row.macs
        assert sum(g.times * line.row.pool_ops for g in groups for line in g.runs[0]) == found.pool_ops
    assert sum(line.memory for line in lines(found, CONVENTIONS["torch"])) == sum(r.made for r in found.rows)


@pytest.mark.parametrize("name", NETS)
def test_torchs_own_counter_agrees(name):
    """It counts two flops a multiply-add, by its own formulas."""
    row, net = NETS[name], in_meta(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, 3, row.size_px, row.size_px, device="meta"))
    assert counter.get_total_flops() == 2 * row.macs


def macs(net: nn.Module, *inputs) -> int:
    found = cost(net, *inputs)
    assert found.params == sum(p.numel() for p in net.parameters())
    return found.macs


@pytest.mark.parametrize(
    ("net", "shape", "by_hand"),
    [
        (nn.Conv1d(6, 4, 5, 2, 2, groups=2), (1, 6, 20), 4 * 10 * 3 * 5),
        (nn.Conv2d(6, 9, (3, 5), (1, 2), dilation=2, groups=3), (2, 6, 20, 20), 2 * 9 * 16 * 6 * 2 * 15),
        (nn.Conv3d(2, 3, 3), (1, 2, 5, 6, 7), 3 * 3 * 4 * 5 * 2 * 27),
        (nn.ConvTranspose2d(4, 6, 3, 2, groups=2), (1, 4, 5, 5), 4 * 25 * 3 * 9),
        (nn.Linear(8, 5), (1, 8), 40),
        (nn.Linear(8, 5), (1, 7, 8), 7 * 40),
        (nn.Linear(8, 5, bias=False), (2, 3, 4, 8), 24 * 40),
        (nn.Sequential(nn.Flatten(2), Run(lambda x: x.transpose(1, 2)), nn.Linear(3, 5)), (1, 3, 4, 4), 16 * 15),
        (Run(lambda x: torch.einsum("bhid,bhjd->bhij", x, x)), (1, 4, 10, 16), 4 * 10 * 10 * 16),
        (Run(lambda x: torch.einsum("bchw,bcd->bhwd", x, x.flatten(2)[..., :3])), (1, 2, 4, 4), 16 * 3 * 2),
        (Run(lambda x: torch.baddbmm(x, x, x)), (3, 8, 8), 3 * 8**3),
        (Run(lambda x: x @ x.mT), (3, 4, 8, 5), 12 * 8 * 8 * 5),
        (Run(lambda x: F.conv2d(x, torch.ones(4, 3, 3, 3))), (1, 3, 8, 8), 4 * 36 * 27),
        (Run(lambda x: F.scaled_dot_product_attention(x, x, x)), (2, 4, 10, 16), 2 * 8 * 10 * 10 * 16),
        (
            Run(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(10, 10, dtype=torch.bool))),
            (2, 4, 10, 16),
            2 * 8 * 10 * 10 * 16,
        ),
        (
            nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
            (1, 10, 16),
            10 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 10 * 10 * 16,
        ),
        (nn.LSTM(16, 8), (5, 1, 16), 5 * 4 * 8 * (16 + 8)),
        (Run(lambda x: torch.addmv(x[0], x, x[0])), (8, 8), 8 * 8),
        (Run(lambda x: torch.dot(x[0], x[1])), (2, 8), 8),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect"), nn.Dropout(), nn.GELU()),
            (1, 3, 8, 8),
            4 * 64 * 27,
        ),
    ],
)
def test_by_hand(net, shape, by_hand):
    assert macs(net.eval(), shape) == by_hand


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_what_torchs_tracer_made_counts_the_same():
    """It writes convolutions down as another operation."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, groups=1), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2))
    traced = torch.jit.trace(net, torch.zeros(1, 3, 16, 16))
    found, ours = (cost(one, (1, 3, 16, 16)) for one in (traced, net))
    assert [(r.macs, r.params, r.field) for r in found.rows if r.macs] == [
        (r.macs, r.params, r.field) for r in ours.rows if r.macs
    ]
    assert found.notes == ()


def test_bilinear_and_two_inputs():
    assert macs(nn.Bilinear(3, 4, 5), (1, 3), (1, 4)) == 60


def test_attention_on_real_tensors_counts_the_same():
    """Where operations compute, torch takes a fused kernel; on meta it takes the two products."""

    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x):
            assert float(x.sum()) == 0.0
            return self.attention(x, x, x, need_weights=False)[0]

    found = cost(Looks(), (1, 10, 16))
    assert found.notes == (ON_ZEROS,)
    assert found.macs == 10 * 4 * 16 * 16 + 2 * 10 * 10 * 16
    assert found.params == 4 * 16 * 16 + 4 * 16
    assert "attention" in {row.kind for row in found.rows}


def test_a_linear_layer_over_constants_is_read_the_right_way_round():
    """Swin-V2's curve of relative places: nothing in it comes of the picture."""
    net = in_meta("swin_v2_t")
    rows = [r for r in cost(net, (1, 3, 256, 256)).rows if r.path.startswith("stage1.block1.look.body.mix.mix.bias.")]
    assert [(r.input, r.output, r.filters) for r in rows] == [
        ((225, 2), (225, 512), 512),
        ((225, 512), (225, 3), 3),
    ]
    kept = nn.Parameter(torch.ones(5, 7))  # weight @ x, where x comes of the input
    (row,) = cost(Run(lambda x: kept @ x), (7, 3)).rows
    assert (row.input, row.output, row.filters) == ((3, 7), (3, 5), 5)


def test_every_row_knows_what_it_reads():
    found = cost(in_meta("resnet18"), (1, 3, 224, 224))
    assert found.rows[0].sources == ((-1, (1, 3, 224, 224)),)
    add = next(i for i, row in enumerate(found.rows) if row.path == "stage1.0.add")
    assert [(found.rows[at].path, shape) for at, shape in found.rows[add].sources] == [
        ("stem.pool", (1, 64, 56, 56)),
        ("stage1.0.add.body.c2.bn", (1, 64, 56, 56)),
    ]
    for i, row in enumerate(found.rows):
        assert all(at < i for at, _ in row.sources)
        assert row.after is None or row.after in [at for at, _ in row.sources]
    two = cost(nn.Bilinear(3, 4, 5), (1, 3), (1, 4)).rows[0]
    assert [at for at, _ in two.sources] == [-1, -2]


def test_operations_are_called_what_they_are():
    """Where torch has one name for two things."""
    net = nn.Sequential(nn.ReLU6(), nn.Hardtanh(), nn.ReLU6(inplace=True), nn.BatchNorm2d(4), nn.InstanceNorm2d(4))
    ops = [row.op for row in cost(net.eval(), (2, 4, 5, 5)).rows if row.kind in ("act", "norm")]
    assert ops == ["relu6", "hardtanh", "relu6", "native_batch_norm", "instance_norm"]


def test_a_shared_parameter_counts_once_and_an_unread_one_is_listed():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.idle = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(3, 2)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    found = cost(Tied(), (1, 4))
    assert [row.params for row in found.rows] == [20, 4]
    assert found.unread == (("idle.weight", 6), ("idle.bias", 2))
    assert found.params == sum(p.numel() for p in Tied().parameters())


def test_the_net_is_left_as_it_was():
    net = NETS["resnet20"].build(4).train()
    net.get_submodule("stage1").eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    cost(net, (1, 3, 32, 32))
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.device.type == "cpu" for p in net.parameters())
    assert net(torch.zeros(2, 3, 32, 32)).device.type == "cpu"


def test_where_the_parameters_are_makes_no_difference():
    there = cost(in_meta("mobilenet_v2"), (1, 3, 64, 64))
    here = cost(NETS["mobilenet_v2"].build(1000).train(), torch.zeros(1, 3, 64, 64))
    assert there.rows == here.rows


def test_an_input_that_does_not_fit_is_a_sentence():
    with pytest.raises(SettingsError, match=r"the net can not be run on an input of shape \(1, 4, 32, 32\): .*channel"):
        cost(NETS["resnet20"].build(4), (1, 4, 32, 32))
    with pytest.raises(SettingsError, match=r"can not be run on an input of shape \(1, 3, 2, 2\)"):
        cost(in_meta("lenet5"), (1, 3, 2, 2))


def test_a_net_that_has_not_learnt_its_sizes_is_a_sentence():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    with pytest.raises(SettingsError, match=r"the size of 1.weight, 1.bias at its first pass; run it once"):
        cost(net, (1, 3, 8, 8))
    net(torch.zeros(1, 3, 8, 8))
    assert cost(net, (1, 3, 8, 8)).macs == 4 * 192


def test_a_net_of_no_tensors_that_must_compute_is_run():
    """It has nothing whose device says where."""
    found = cost(Run(lambda x: x @ x * float(x.sum())), (8, 8))
    assert (found.macs, found.notes) == (8**3, (ON_ZEROS,))


def test_what_can_not_be_counted_is_named():
    class Waves(nn.Module):
        def forward(self, x):
            return torch.fft.fft2(x).abs()

    (note,) = cost(Waves(), (1, 30, 30)).notes
    assert "could not be counted: _fft_" in note


def test_depthwise_is_worth_9c_over_9_plus_c():
    """E101's formula: a separable layer needs (9C + C²) where a full one needs 9C²."""
    for c in (32, 64, 128):
        full = macs(nn.Conv2d(c, c, 3, padding=1), (1, c, 14, 14))
        apart = macs(nn.Sequential(nn.Conv2d(c, c, 3, padding=1, groups=c), nn.Conv2d(c, c, 1)), (1, c, 14, 14))
        assert full * (9 + c) == apart * 9 * c


X = torch.randn(2, 6, 9, 9)
STRIDED = torch.randn(2, 9, 9, 6).permute(0, 3, 1, 2)
ARGS = {
    "convolution": [
        (X, torch.randn(4, 3, 3, 5), torch.randn(4), [2, 1], [1, 0], [1, 2], False, [0, 0], 2),
        (X, torch.randn(6, 4, 3, 3), None, [2, 2], [1, 1], [1, 1], True, [0, 0], 1),
        (X[:, :, 0], torch.randn(4, 6, 3), None, [1], [1], [1], False, [0], 1),
    ],
    "native_batch_norm": [
        (X, torch.ones(6), torch.ones(6), torch.zeros(6), torch.ones(6), False, 0.1, 1e-5),
        (X, torch.ones(6), torch.ones(6), torch.zeros(6), torch.ones(6), True, 0.1, 1e-5),
    ],
    "native_layer_norm": [(X, [9], torch.ones(9), torch.zeros(9), 1e-5), (X, [9, 9], None, None, 1e-5)],
    "addmm": [(torch.ones(3), torch.ones(2, 4), torch.ones(4, 3))],
    "mm": [(torch.ones(2, 4), torch.ones(4, 3))],
    "bmm": [(torch.ones(5, 2, 4), torch.ones(5, 4, 3))],
    "add": [(X, X), (X, torch.ones(6, 1, 1)), (X, 1.0), (STRIDED, X), (STRIDED, STRIDED), (X.mT, X.mT)],
    "mul": [(X, X), (X, torch.ones(2, 6, 1, 1)), (X, 2), (STRIDED, 2.0)],
    "_safe_softmax": [(X, -1)],
}


@pytest.mark.parametrize("func", SHAPES, ids=str)
def test_shapes_written_down_here_are_torchs_own(func):
    """Of what torch computes with numbers, not of its meta kernels: shape, type, and strides where we answer at all."""
    for args in ARGS.get(func.overloadpacket.__name__, [(X,), (STRIDED,)]):
        if func._overloadname == "Scalar" and isinstance(args[1], torch.Tensor):
            continue
        meta = [a.to("meta") if isinstance(a, torch.Tensor) else a for a in args]
        said = SHAPES[func](meta)
        real = func(*[a.clone() if isinstance(a, torch.Tensor) else a for a in args])
        if said is None:
            continue
        for a, b in zip(
            [said] if isinstance(said, torch.Tensor) else said,
            [real] if isinstance(real, torch.Tensor) else real,
            strict=True,
        ):
            assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride()), args
