"""Python source as tokens that survive renaming: what is left without chosen names, comments and layout."""

import builtins
import keyword
import re
from dataclasses import dataclass

MOST_CHARACTERS = 100_000  # of one submission's code; a homework has about ten thousand
GRAM = 12  # tokens in a row that are compared as one piece: about one line of code

# One pass, no look-back: it ends on any text, also on magics, syntax errors and what is no Python at all.
TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<string>[rbfRBF]{0,2}(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
    |(?P<number>\d[\w.]*)
    |(?P<name>[^\W\d]\w*)
    |(?P<space>\s+)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
KEPT = frozenset(keyword.kwlist) | frozenset(dir(builtins))


@dataclass(frozen=True)
class Cell:
    """A code cell: its lines, and its tokens with the line of each."""

    lines: tuple[str, ...]
    tokens: tuple[str, ...]
    at: tuple[int, ...]

    def grams(self) -> list[int]:
        """A hash of every `GRAM` tokens in a row, in order."""
        return [hash(self.tokens[start : start + GRAM]) for start in range(len(self.tokens) - GRAM + 1)]


def read_cells(sources: list[str]) -> list[Cell]:
    """The cells of one submission, up to `MOST_CHARACTERS` in all."""
    left, cells = MOST_CHARACTERS, []
    for source in sources:
        source = source[: max(left, 0)]
        left -= len(source)
        cells.append(read_cell(source))
    return cells


def read_cell(source: str) -> Cell:
    """Tokens: keywords, built-in names, attributes, numbers and signs as they are; other names N, strings S."""
    tokens, at, line = [], [], 0
    for match in TOKEN.finditer(source):
        kind, text = match.lastgroup, match[0]
        if kind == "string":
            tokens.append("S")
        elif kind == "name":
            tokens.append(text if text in KEPT or _is_attribute(tokens) else "N")
        elif kind in ("number", "sign"):
            tokens.append(text)
        if len(tokens) > len(at):
            at.append(line)
        line += text.count("\n")
    return Cell(tuple(source.split("\n")), tuple(tokens), tuple(at))


def _is_attribute(before: list[str]) -> bool:
    """Whether the next name follows a dot: an attribute is part of a library's language, as in `torch.cdist`."""
    return bool(before) and before[-1] == "."
