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


def p_value(p: float) -> str:
    """0.12, or < 0.001."""
    return f"{p:.2f}" if p >= 0.01 else "< 0.01" if p >= 0.001 else "< 0.001"


def table(head: str, lines: list[str]) -> list[str]:
    """A Markdown table; nothing where nothing was measured."""
    return [head, "|" + "---|" * (head.count("|") - 1), *lines, ""] if lines else []


def accuracy() -> list[str]:
    names = ("top-1", "macro recall", "escape", "overkill", "hold")
    lines = [
        f"| {row['data']} | {row['pictures']['test']:,} | "
        + " | ".join(rate(row["metrics"].get(f"test {name}")) for name in names)
        + f" | {row['train_s']:.0f} s |"
        for row in rows("accuracy")
    ]
    return table("| data | test n | top-1 | balanced accuracy | escape | overkill | held | training |", lines)


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
            rate(row["test_top1_ours"]),
            rate(row["test_top1_plain"]),
            p_value(row["mcnemar_p"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    head = (
        "| data | same calibrate accuracy | Lineside | plain PyTorch | faster | test: ours | test: plain | McNemar p |"
    )
    return table(head, lines)


def text() -> str:
    """The lines between the README's markers."""
    return "\n".join([BEGIN, *accuracy(), *training(), END])


def written() -> str:
    """The same lines as the README has them now."""
    readme = README.read_text()
    return readme[readme.index(BEGIN) : readme.index(END) + len(END)]


if __name__ == "__main__":
    README.write_text(README.read_text().replace(written(), text()))
