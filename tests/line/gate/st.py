"""docs/plc.md's program, run as it stands there: its structured text (IEC 61131-3) becomes Python, line by line.

Only what that program uses is known, and anything else is refused: BOOL, UINT, UDINT and arrays of them, assignments,
IF, FOR, WHILE. Numbers are unsigned, with 16 or 32 bits as they were declared, in every step of a sum, too.
"""

import re
from pathlib import Path
from types import CodeType
from typing import Any

PAGE = (Path(__file__).parents[3] / "docs" / "plc.md").read_text(encoding="utf-8")
BITS = {"UINT": 16, "UDINT": 32}
SAME = {"AND": "and", "OR": "or", "MOD": "%", "=": "==", "<>": "!=", "TRUE": "True", "FALSE": "False"}
SAME |= {one: one for one in ("+", "-", "*", "<", ">", "<=", ">=", "(", ")", "[", "]")}
TOKEN = re.compile(r"\s*(16#[0-9A-F]+|\d+|\w+|:=|<>|<=|>=|[-+*=<>()\[\]:;,]|\.\.)")


class Word(int):
    """An unsigned number that passes its end and begins anew."""

    bits = 0  # 0: a literal, which has the width of what it meets

    def __new__(cls, value: int, bits: int = 0) -> "Word":
        made = super().__new__(cls, value & (1 << bits) - 1 if bits else value)
        made.bits = bits
        return made

    def _with(self, other: int, value: int) -> "Word":
        return Word(value, max(self.bits, getattr(other, "bits", 0)))

    def __add__(self, other: int) -> "Word":
        return self._with(other, int(self) + int(other))

    def __sub__(self, other: int) -> "Word":
        return self._with(other, int(self) - int(other))

    def __mul__(self, other: int) -> "Word":
        return self._with(other, int(self) * int(other))

    def __mod__(self, other: int) -> "Word":
        return self._with(other, int(self) % int(other))


def program() -> str:
    """The text in docs/plc.md."""
    (found,) = re.findall(r"^FUNCTION_BLOCK .*?^END_FUNCTION_BLOCK$", PAGE, re.MULTILINE | re.DOTALL)
    return found


class Block:
    """An instance of a function block: `values` by name, and `cycle()`. Final."""

    def __init__(self, text: str, **constants: int):
        tokens = _tokens(text)
        assert tokens[:1] == ["FUNCTION_BLOCK"]
        assert tokens[-1] == "END_FUNCTION_BLOCK"
        self.values: dict[str, Any] = {}
        self.types: dict[str, str] = {}
        self._rest = tokens[2:-1]
        while self._rest[0].startswith("VAR"):
            self._declare(constants)
        assert set(constants) <= set(self.values), "no such constants"
        lines = ["def run(v, put):", *self._statements(())]
        assert not self._rest
        self.python = "\n".join(lines)
        made: dict[str, Any] = {"Word": Word}
        code: CodeType = compile(self.python, "docs/plc.md", "exec")
        exec(code, made)  # noqa: S102 (of tokens that are known, one by one)
        self._run = made["run"]

    def put(self, name: str, value: Any) -> None:
        self.values[name] = self._as(self.types[name], value)

    def cycle(self, **inputs: Any) -> None:
        for name, value in inputs.items():
            self.put(name, value)
        self._run(self.values, self._set)

    def _set(self, name: str, value: Any, place: int | None = None) -> None:
        if place is None:
            self.put(name, value)
        else:
            assert 0 <= place < len(self.values[name]), (name, place)
            self.values[name][place] = self._as(self.types[name], value)

    @staticmethod
    def _as(kind: str, value: Any) -> Any:
        if kind == "BOOL":
            assert isinstance(value, bool), value
            return value
        assert not isinstance(value, bool), value
        return Word(value, BITS[kind])

    # -------------------------------------------------------------------------------------------------- its text

    def _take(self, *expected: str) -> str:
        found = self._rest.pop(0)
        assert not expected or found in expected, f"{expected} expected, not {found!r} {self._rest[:8]}"
        return found

    def _until(self, *ends: str) -> list[str]:
        found = []
        while self._rest[0] not in ends:
            found.append(self._rest.pop(0))
        self._take(*ends)
        return found

    def _declare(self, constants: dict[str, int]) -> None:
        self._take()
        if self._rest[0] == "CONSTANT":
            self._take()
        while self._rest[0] != "END_VAR":
            names = [one for one in self._until(":") if one != ","]
            size = 0
            if self._rest[0] == "ARRAY":
                assert self._until("OF") == ["ARRAY", "[", "0", "..", "LAST", "]"]
                size = self.values["LAST"] + 1
            kind = self._take("BOOL", *BITS)
            start: Any = False if kind == "BOOL" else 0
            if self._take(":=", ";") == ":=":
                start = _literal(self._take())
                self._take(";")
            for name in names:
                self.types[name] = kind
                first = self._as(kind, constants.get(name, start))
                self.values[name] = [first] * size if size else first
        self._take("END_VAR")

    def _statements(self, ends: tuple[str, ...], depth: int = 1) -> list[str]:
        lines, pad = [], "    " * depth
        while self._rest and self._rest[0] not in ends:
            word = self._take()
            if word == "IF":
                lines.append(f"{pad}if {self._expression(self._until('THEN'))}:")
                lines += self._statements(("ELSIF", "ELSE", "END_IF"), depth + 1)
                while (word := self._take("ELSIF", "ELSE", "END_IF")) != "END_IF":
                    other = "else" if word == "ELSE" else f"elif {self._expression(self._until('THEN'))}"
                    lines += [f"{pad}{other}:", *self._statements(("ELSIF", "ELSE", "END_IF"), depth + 1)]
            elif word == "WHILE":
                lines.append(f"{pad}while {self._expression(self._until('DO'))}:")
                lines += self._statements(("END_WHILE",), depth + 1)
                self._take("END_WHILE")
            elif word == "FOR":
                name = self._take()
                self._take(":=")
                low, high = self._expression(self._until("TO")), self._expression(self._until("DO"))
                lines += [f"{pad}for n in range({low}, {high} + 1):", f"{pad}    put({name!r}, n)"]
                lines += self._statements(("END_FOR",), depth + 1)
                self._take("END_FOR")
            else:
                place = ""
                if self._rest[0] == "[":
                    self._take()
                    place = f", {self._expression(self._until(']'))}"
                self._take(":=")
                assert word in self.types, f"{word} is not declared"
                lines.append(f"{pad}put({word!r}, {self._expression(self._until(';'))}{place})")
                continue
            self._take(";")
        return lines

    def _expression(self, tokens: list[str]) -> str:
        made = []
        for n, one in enumerate(tokens):
            if one == "NOT":  # binds more tightly than Python's: only before one BOOL
                assert self.types.get(tokens[n + 1]) == "BOOL", tokens
                assert tokens[n + 2 : n + 3] in ([], ["AND"], ["OR"], [")"], ["["]), tokens
                made.append("not")
            elif one in SAME:
                made.append(SAME[one])
            elif one in self.types:
                made.append(f"v[{one!r}]")
            else:
                made.append(f"Word({_literal(one)})")
        return " ".join(made)


def _literal(token: str) -> int:
    return int(token[3:], 16) if token.startswith("16#") else int(token)


def _tokens(text: str) -> list[str]:
    text = re.sub(r"\(\*.*?\*\)", " ", text, flags=re.DOTALL).strip()
    found, at = [], 0
    while at < len(text):
        token = TOKEN.match(text, at)
        assert token, f"not understood: {text[at : at + 30]!r}"
        found.append(token[1])
        at = token.end()
    return found
