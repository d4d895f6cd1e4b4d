"""What a terminal is told: names of files, classes and parts come from outside, and may hold more than letters."""


def shown(text: str) -> str:
    """Text that stays in its line and can not steer a terminal: what is not printable becomes \\x1b, \\n and so on."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def lines_shown(text: str) -> str:
    """The same for a text of several lines, whose ends stay."""
    return "\n".join(map(shown, text.split("\n")))
