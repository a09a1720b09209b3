"""What tests of lectures share: the source of the lecture that a test file is named after, and pictures held pure.

tests/lectures/test_05_metric.py is of 05_metric.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from kshot import see


@dataclass(frozen=True)
class Source:
    """A lecture's percent-format source, so that its own code can be run piece by piece."""

    text: str

    @property
    def cells(self) -> list[str]:
        """The code cells, in order."""
        parts = re.split(r"^# %%(.*)\n", self.text, flags=re.MULTILINE)
        return [code.strip() for head, code in zip(parts[1::2], parts[2::2]) if "[markdown]" not in head]

    @property
    def prose(self) -> str:
        """The text with its lines joined, in which a sentence can be looked for."""
        return " ".join(self.text.replace("\n#", " ").split())

    def cell(self, beginning: str) -> str:
        """The one code cell that holds `beginning` at the start of a line."""
        (found,) = [code for code in self.cells if re.search(rf"^{re.escape(beginning)}", code, flags=re.MULTILINE)]
        return found

    def definition(self, beginning: str) -> str:
        """The definition alone that starts with `beginning`, without the rest of its cell."""
        parts = self.cell(beginning).split("\n\n\n")
        (found,) = [part for part in parts if re.search(rf"^{re.escape(beginning)}", part, flags=re.MULTILINE)]
        return found


@pytest.fixture(scope="module")
def source(request) -> Source:
    """The source of this test file's lecture."""
    name = request.path.stem.removeprefix("test_")
    return Source((Path(__file__).parents[2] / "lectures" / "src" / f"{name}.py").read_text(encoding="utf-8"))


@pytest.fixture
def assert_pure():
    """Asserts that a state gives the same pixels whatever was drawn before, and each of the states its own."""

    def check(picture, states) -> None:
        used = see.Canvas(picture)
        seen = [used.pixels(state) for state in (*states, *reversed(states))][len(states) :]
        fresh = [see.Canvas(picture).pixels(state) for state in reversed(states)]
        assert all((a == b).all() for a, b in zip(seen, fresh))
        assert len({image.tobytes() for image in fresh}) == len(states)

    return check
