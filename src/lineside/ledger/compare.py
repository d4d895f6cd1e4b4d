"""Several nets side by side in a terminal: a bar of memory, parameters and MACs each, as the deck's charts."""

from collections.abc import Callable, Sequence

from lineside.ledger.convention import sentences
from lineside.ledger.row import KB
from lineside.ledger.sheet import Sheet

BAR = 32  # characters of the longest bar
BLOCKS = " ▏▎▍▌▋▊▉█"


def compare(sheets: Sequence[Sheet]) -> str:
    """Three charts and what stands under them."""
    convention = sheets[0].convention
    names = [sheet.cost.name for sheet in sheets]
    charts: list[tuple[str, Callable[[Sheet], float], str]] = [
        ("memory of activations, MB", lambda s: s.memory / KB / KB, "{:,.2f}"),
        ("parameters, M", lambda s: s.cost.params / 1e6, "{:,.3f}"),
        ("MACs, M", lambda s: s.cost.macs / 1e6, "{:,.1f}"),
        ("peak for inference, MB", lambda s: s.inference_bytes / KB / KB, "{:,.2f}"),
    ]
    if all(sheet.training_bytes is not None for sheet in sheets):
        charts.append(("kept for training, MB", lambda s: (s.training_bytes or 0) / KB / KB, "{:,.2f}"))
    if all(sheet.times for sheet in sheets):
        charts.append(("time of a pass here, ms", lambda s: s.times.whole_ms if s.times else 0.0, "{:,.2f}"))
    wide, printed = max(map(len, names)), []
    for title, value, form in charts:
        values = [value(sheet) for sheet in sheets]
        said = [form.format(v) for v in values]
        most, right = max(values) or 1, max(map(len, said))
        printed += [
            title,
            *(f"  {n:<{wide}}  {t:>{right}}  {bar(v / most)}" for n, t, v in zip(names, said, values, strict=True)),
            "",
        ]
    remarks = list(dict.fromkeys(line for sheet in sheets for line in _remarks(sheet)))
    return "\n".join([*printed, f"convention: {convention.name}; sizes: {_sizes(sheets)}", *remarks])


def _remarks(sheet: Sheet) -> list[str]:
    """The conventions, the same for all, and what is said of this one net, under its name."""
    common = sentences(sheet.convention, sheet.cost)
    return [line if line in common else f"{sheet.cost.name}: {line}" for line in sheet.remarks()]


def _sizes(sheets: Sequence[Sheet]) -> str:
    return ", ".join(f"{s.cost.name} {'×'.join(map(str, s.cost.shapes[0][1:]))}" for s in sheets)


def bar(share: float) -> str:
    """share of BAR characters, to an eighth."""
    eighths = round(share * BAR * 8)
    return BLOCKS[-1] * (eighths // 8) + (BLOCKS[eighths % 8] if eighths % 8 else "")
