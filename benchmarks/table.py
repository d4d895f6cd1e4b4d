"""The README's tables, made from benchmarks/results/: `python -m benchmarks.table` writes them, a test compares."""

from pathlib import Path

from benchmarks.record import rows

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- results: python -m benchmarks.table -->\n", "<!-- end of results -->\n"


def rate(estimate: dict | None) -> str:
    """97.4 % (96.1–98.3), or a dash where it was not measured."""
    if not estimate or estimate["value"] is None:
        return "–"
    return f"{100 * estimate['value']:.1f} % ({100 * estimate['low']:.1f}–{100 * estimate['high']:.1f})"


def points(estimate: dict | None) -> str:
    """+6.6 (+1.4 to +11.9): a difference of two rates, in points of percent; a dash where it is not known."""
    if estimate is None:
        return "–"
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * estimate[key] for key in ("value", "low", "high")))


def table(head: str, lines: list[str]) -> list[str]:
    """A Markdown table; nothing where nothing was measured."""
    return [head, "|" + "---|" * (head.count("|") - 1), *lines, ""] if lines else []


def accuracy() -> list[str]:
    lines = []
    for row in rows("accuracy"):
        found = row["metrics"]
        cells = (
            row["data"],
            f"{row['pictures']['test']:,}",
            rate(found["test top-1"]),
            rate(found["test macro recall"]),
            promise(row["operating_point"]),
            among(found.get("test escape")),
            *(rate(found.get(f"test {name}")) for name in ("good accepted", "overkill", "hold")),
            f"{row['train_s']:.0f} s",
        )
        lines.append(f"| {' | '.join(cells)} |")
    what = ("data", "test n", "top-1", "balanced accuracy", "promised escape", "escape on test", "good accepted")
    return table(f"| {' | '.join((*what, 'overkill', 'held', 'training'))} |", lines)


def promise(point: dict | None) -> str:
    """≤ 1 %: shown; or what calibrate's bad parts do show."""
    if point is None:
        return "–"
    said = "shown" if point["shown"] else f"not shown; ≤ {100 * point['escape_bound']:.2g} % is"
    return f"≤ {100 * point['max_escape']:g} %: {said}"


def among(estimate: dict | None) -> str:
    """A rate among bad parts, with their number."""
    return rate(estimate) + (f" of {estimate['n']:,}" if estimate else "")


def reached(row: dict) -> int:
    """The plain loop's epoch that came to the target."""
    return 1 + next(n for n, (_, top1) in enumerate(row["curve_plain"]) if top1 >= row["target_calibrate_top1"])


def training() -> list[str]:
    lines = []
    for row in rows("training"):
        cells = (
            row["data"],
            f"{100 * row['target_calibrate_top1']:.1f} %",
            f"{row['seconds_ours']:.0f} s",
            f"{row['seconds_plain']:.0f} s, epoch {reached(row)} of {row['plain_epochs']}",
            f"**{row['times_faster']:.1f} ×**",
            f"{100 * row['test_top1_ours']:.1f} %",
            f"{100 * row['test_top1_plain']:.1f} %",
            points(row["gain"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    what = ("data", "same calibrate accuracy", "Lineside", "plain PyTorch", "faster", "test: ours", "test: plain")
    return table(f"| {' | '.join((*what, 'ours − plain, points'))} |", lines)


def text() -> str:
    """The lines between the README's markers."""
    return "\n".join([BEGIN, *accuracy(), *training(), END])


def written() -> str:
    """The same lines as the README has them now."""
    readme = README.read_text()
    return readme[readme.index(BEGIN) : readme.index(END) + len(END)]


if __name__ == "__main__":
    README.write_text(README.read_text().replace(written(), text()))
