"""Finds submissions whose own code is nearly the same, however names and layout were changed.

Fingerprints of token k-grams with the given code taken out (Schleimer, Wilkerson and Aiken, "Winnowing", 2003), all of
them kept as homeworks are short, and weighted by rarity: what many students write says little of two.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autograder.report.tokens import GRAM, Cell

ALIKE = 0.6  # of the smaller one's own code, by weight; independent solutions of a short homework stay below 0.3
LEAST_SHARED = 40  # own pieces in common: about five lines of code
LEAST_WEIGHT = 0.1  # of a piece that everybody has
ENOUGH = 5  # submissions from which "more than half have it" says that code was given
MOST_OWN = 5000  # pieces of one submission, some 600 lines
COLUMNS = 4096  # pieces compared at a time, which bounds memory
LONGEST_PASSAGE = 14  # lines


@dataclass(frozen=True)
class Pair:
    """Two submissions by position; `share` of the smaller one's own code, by weight, is also in the other."""

    first: int
    second: int
    share: float
    shared: int = 0


@dataclass(frozen=True)
class Passage:
    """The longest stretch of code that two submissions share, as each wrote it."""

    first: str
    second: str


def grams_of(cells: Iterable[Cell]) -> set[int]:
    """Every piece of some code: of what was handed out, no piece is a student's."""
    return {gram for cell in cells for gram in cell.grams()}


def shared_by_most(submissions: list[list[Cell]]) -> set[int]:
    """Where it is not known what was handed out: the pieces that more than half the submissions hold."""
    holders = Counter(gram for cells in submissions for gram in grams_of(cells))
    return {gram for gram, number in holders.items() if 2 * number > len(submissions)}


def own_grams(cell: Cell, given: set[int]) -> list[tuple[int, int]]:
    """(start, gram) of the pieces that are the student's: mostly of tokens that no piece of given code covers."""
    grams = cell.grams()
    own = np.ones(len(cell.tokens) + 1, dtype=np.int64)
    for start, gram in enumerate(grams):
        if gram in given:
            own[start : start + GRAM] = 0
    before = np.concatenate([[0], np.cumsum(own)])
    return [(start, gram) for start, gram in enumerate(grams) if 2 * (before[start + GRAM] - before[start]) >= GRAM]


def alike(submissions: list[list[Cell]], given: set[int]) -> list[Pair]:
    """Every pair of nearly equal submissions, the most alike first. Memory and time stay bounded for thousands."""
    pieces = [set([gram for cell in cells for _, gram in own_grams(cell, given)][:MOST_OWN]) for cells in submissions]
    total = len(pieces)
    holders: dict[int, list[int]] = defaultdict(list)
    for position, grams in enumerate(pieces):
        for gram in grams:
            holders[gram].append(position)
    weight = {gram: _weight(len(who), total) for gram, who in holders.items()}
    own = np.array([sum(weight[gram] for gram in grams) for grams in pieces])
    common = [gram for gram, who in holders.items() if len(who) > 1]
    shared = np.zeros((total, total), dtype=np.float32)
    number = np.zeros((total, total), dtype=np.float32)
    for start in range(0, len(common), COLUMNS):
        block = common[start : start + COLUMNS]
        holds = np.zeros((total, len(block)), dtype=np.float32)
        for column, gram in enumerate(block):
            holds[holders[gram], column] = 1
        number += holds @ holds.T
        shared += (holds * np.array([weight[gram] for gram in block], dtype=np.float32)) @ holds.T
    share = shared / np.maximum(np.minimum(own[:, None], own[None, :]), 1e-9)
    found = np.argwhere(np.triu((share >= ALIKE) & (number >= LEAST_SHARED), 1))
    pairs = [Pair(int(a), int(b), min(1.0, float(share[a, b])), int(number[a, b])) for a, b in found]
    return sorted(pairs, key=lambda pair: (-pair.share, -pair.shared, pair.first, pair.second))


def _weight(holders: int, total: int) -> float:
    """1 for a piece that two of `total` hold, falling with the logarithm of how many do."""
    if total <= 2 or holders <= 2:
        return 1.0
    return max(LEAST_WEIGHT, math.log(total / holders) / math.log(total / 2))


def groups(pairs: list[Pair]) -> list[list[Pair]]:
    """The pairs of each set of submissions that they link; the most alike set first."""
    leader: dict[int, int] = {}

    def find(member: int) -> int:
        while leader.setdefault(member, member) != member:
            leader[member] = leader[leader[member]]
            member = leader[member]
        return member

    for pair in pairs:
        leader[find(pair.first)] = find(pair.second)
    by_leader: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_leader[find(pair.first)].append(pair)
    return list(by_leader.values())


def longest_passage(first: list[Cell], second: list[Cell], given: set[int]) -> Passage | None:
    """The longest run of own pieces that stand in the same order in both, in the lines of each."""
    places = {gram: (cell, start) for cell in range(len(second)) for start, gram in own_grams(second[cell], given)}
    best, longest = None, 0
    for cell in first:
        here, there, length = 0, (0, 0), 0
        for start, gram in own_grams(cell, given):
            found = places.get(gram)
            if length and start == here + length and found == (there[0], there[1] + length):
                length += 1
            elif found:
                here, there, length = start, found, 1
            else:
                length = 0
            if length > longest:
                best, longest = (cell, here, there), length
    if best is None:
        return None
    cell, here, (other, there) = best
    reach = longest + GRAM - 2
    return Passage(_lines(cell, here, here + reach), _lines(second[other], there, there + reach))


def _lines(cell: Cell, start: int, end: int) -> str:
    lines = cell.lines[cell.at[start] : cell.at[end] + 1]
    rest = len(lines) - LONGEST_PASSAGE
    return "\n".join([*lines[:LONGEST_PASSAGE], *([f"… {rest} more lines"] if rest > 0 else [])])
