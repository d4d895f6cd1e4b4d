"""What is written in the boxes of a drawing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from lineside.ledger.boxes import CONCAT, Edge, Node
from lineside.ledger.row import Row
from lineside.ledger.wiring import MOVED

SIGNS = {"add": "+", "add_": "+", "mul": "×", "mul_": "×", "sub": "−", "Add": "+", "Mul": "×", "Sub": "−"}
WORDS = {
    "native_batch_norm": "batch norm",
    "native_layer_norm": "layer norm",
    "native_group_norm": "group norm",
    "instance_norm": "instance norm",
    "_fused_rms_norm": "RMS norm",
    "relu": "ReLU",
    "Relu": "ReLU",
    "relu6": "ReLU6",
    "silu": "SiLU",
    "gelu": "GELU",
    "elu": "ELU",
    "leaky_relu": "leaky ReLU",
    "hardswish": "hard swish",
    "hardsigmoid": "hard sigmoid",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log softmax",
    "_prelu_kernel": "PReLU",
    "roll": "cyclic shift",
    "upsample_nearest2d": "nearest, larger",
    "upsample_bilinear2d": "bilinear, larger",
}
LOOKS = {"conv": "conv", "conv transposed": "conv", "linear": "linear", "matmul": "linear", "attention": "linear"}


@dataclass(frozen=True)
class Words:
    lines: tuple[str, ...]  # in the box
    name: int | None = None  # which line says what it is
    folded: tuple[int, ...] = ()  # lines that say what was folded into it
    sign: str = ""  # of a join without a box
    beside: str = ""  # the sign: what was folded into it
    shapes: tuple[str, ...] = ()  # under the box: what it puts out
    whole: str = ""  # when the pointer rests on it
    look: str = "other"


def words(node: Node, onward: Sequence[Edge], only_input: bool = True) -> Words:
    """What is said of a node; onward: the edges to what it feeds; only_input: no other node begins the part."""
    shapes, row = _shapes(node, onward), node.row
    if row is None:
        name = node.kind if only_input or not node.path else f"from {node.path}"
        return Words((name, *shapes), look="end")
    before, after = (", ".join(dict.fromkeys(map(_word, ops))) for ops in (node.before, node.after))
    if node.kind == "join" and row.op in SIGNS:
        whole = "; ".join(filter(None, (SIGNS[row.op], after, node.path)))
        return Words((), sign=SIGNS[row.op], beside=after, shapes=shapes, whole=whole, look="join")
    name, detail = _named(node, row)
    lines = tuple(filter(None, (before, name, detail, after)))
    folded = tuple(i for i, line in enumerate(lines) if (before and i == 0) or (after and i == len(lines) - 1))
    whole = "; ".join(filter(None, (before, ", ".join(filter(None, (name, detail))), after, node.path)))
    look = "learnt" if node.kind == "learnt" else "pool" if row.kind == "pool" else LOOKS.get(row.kind, node.kind)
    return Words(lines, 1 if before else 0, folded, shapes=shapes, whole=whole, look=look)


def _named(node: Node, row: Row) -> tuple[str, str]:
    """What it is, and from what to what."""
    if node.kind == "learnt":
        return "learnt", f"{row.params:,} numbers"
    if node.kind == "join":
        return ("concat" if row.op in CONCAT else _word(row.op)), ""
    if node.kind == "other":
        return _name(node, row), f"{row.params:,} learnt" if row.params else _with("", row)
    if row.kind in ("conv", "conv transposed"):
        deep = row.groups > 1 and row.groups == row.input[0]
        kind = "depthwise" if deep else row.kind
        channels = f"{row.input[0]}" if deep and row.filters == row.input[0] else f"{row.input[0]} → {row.filters}"
        sides = _sides(row.kernel)
        return f"{sides} {kind}" if "×" in sides else f"{kind} of {sides}", _with(
            channels, row, "" if deep or row.groups == 1 else f"g={row.groups}"
        )
    if row.kind == "linear":
        channels = f"{row.input[-1]} → {row.filters or row.output[-1]}"
        return "linear", f"{row.input[0]} × ({channels})" if row.op == "bmm" and len(row.input) == 3 else channels
    if row.kind == "matmul" and len(row.input) > 1 and len(row.output) > 1:
        m, k, n = *row.input[-2:], row.output[-1]
        times = prod(row.input[:-2])
        return "product", f"{times} × ({m}×{k} · {k}×{n})" if times > 1 else f"{m}×{k} · {k}×{n}"
    if row.kind == "pool":
        what = "max" if "max" in row.op.lower() else "average"
        everywhere = len(row.output) == 1 or not any(n > 1 for n in row.output[1:])
        return (f"global {what}", "") if everywhere else (f"{_sides(row.kernel)} {what} pool", _with("", row))
    return _word(row.op), ""


def _name(node: Node, row: Row) -> str:
    """A module's own name, with the one above where it is a number; an operation's where it has none."""
    *above, name = node.path.split(".")
    if not node.named or (name.isdigit() and row.op.startswith(MOVED)):
        return _word(row.op)
    return f"{above[-1] if above else 'module'} {name}" if name.isdigit() else name


def _with(said: str, row: Row, groups: str = "") -> str:
    stride = "" if not row.stride or set(row.stride) == {1} else f"/{_sides(row.stride, short=True)}"
    return ", ".join(filter(None, (said, stride, groups)))


def _sides(sides: Sequence[int], short: bool = False) -> str:
    """3×3; short: 2 for (2, 2). Of one axis: 8."""
    return str(sides[0]) if short and len(set(sides)) == 1 else "×".join(map(str, sides))


def _shapes(node: Node, onward: Sequence[Edge]) -> tuple[str, ...]:
    """What it puts out, and the parts that are read of it."""
    if not onward or node.kind == "learnt":
        return ()
    parts = {tuple(sorted(e.shape)): _sides(e.shape) for e in reversed(onward) if not e.whole}  # k is read transposed
    return (_sides(node.shape) or "1", *([f"parts {', '.join(parts.values())}"] if parts else []))


def _word(op: str) -> str:
    return WORDS.get(op.rstrip("_"), op.strip("_").replace("_", " "))
