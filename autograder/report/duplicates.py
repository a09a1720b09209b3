"""Looks for near-duplicates among the submissions of a batch: in their code, and in the weights of their networks."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from autograder.report.handed_in import BadPlace, HandedIn, HandedOut, handed_in, handed_out, places
from autograder.report.likeness import ENOUGH, Pair, Passage, alike, grams_of, groups, longest_passage, shared_by_most
from autograder.report.read import GRADED, Record, Results
from autograder.report.text import count
from autograder.report.weights import Checkpoint, near

MOST_PASSAGES = 30  # groups of which the longest common passage is shown


@dataclass(frozen=True)
class Group:
    """Submissions linked by pairs (with how alike they are), and the longest passage of the most alike pair."""

    members: tuple[Record, ...]
    pairs: tuple[tuple[Record, Record, float], ...]
    passage: Passage | None = None


@dataclass(frozen=True)
class Duplicates:
    """What was found among how many; None for `code` where it was not compared. `notes` say what was not done, and why.

    `compared` submissions and `checkpoints` were looked at.
    """

    code: tuple[Group, ...] | None = None
    weights: tuple[Group, ...] = ()
    compared: int = 0
    checkpoints: int = 0
    notes: tuple[str, ...] = ()


def find_duplicates(results: Results, submissions: Path | None = None, notebook: Path | None = None) -> Duplicates:
    """Compare the submissions that count. `submissions` overrides where they lay at grading time.

    `notebook` is what students received, or the folder with it; a homework of this course needs none. Raises BadPlace.
    """
    if submissions is not None and not submissions.is_dir():
        raise BadPlace(f"There is no folder {submissions}.")
    out = handed_out(results.assignment, notebook)
    root = submissions or results.submissions
    where = places(results, root)
    if not where:
        return Duplicates(notes=(_not_looked_for(root),))
    opened, notes = [], []
    lost = 0
    for found in handed_in(results.counted, where):
        if isinstance(found, HandedIn):
            opened.append(found)
        else:
            lost += found.state == GRADED
    if lost:
        notes.append(f"{count(lost, 'submission')} could not be opened again and took no part.")
    code = _code(opened, out, notes)
    checkpoints = _students_own(opened, out)
    weights = tuple(_group(opened, some) for some in groups(near(checkpoints)))
    return Duplicates(code, weights, len(opened), len(checkpoints), tuple(notes))


def _not_looked_for(root: Path | None) -> str:
    lost = "it is not written down where they lie" if root is None else f"they are no longer in {root}"
    return f"The submissions were not compared: {lost}. --submissions FOLDER says where they are."


def _code(opened: list[HandedIn], out: HandedOut | None, notes: list[str]) -> tuple[Group, ...] | None:
    cells = [entry.cells for entry in opened]
    if out is not None:
        given = grams_of(out.cells)
    elif len(opened) >= ENOUGH:
        given = shared_by_most(cells)
        notes.append("What more than half of the submissions share counts as given: --given NOTEBOOK is more exact.")
    else:
        notes.append(
            f"Below {ENOUGH} submissions, code is compared only with --given NOTEBOOK, what students received."
        )
        return None
    found = []
    for some in groups(alike(cells, given)):
        first, second = cells[some[0].first], cells[some[0].second]
        passage = longest_passage(first, second, given) if len(found) < MOST_PASSAGES else None
        found.append(_group(opened, some, passage))
    return tuple(found)


def _students_own(opened: list[HandedIn], out: HandedOut | None) -> list[Checkpoint]:
    """The checkpoints that are no support file of the homework.

    Where it is not known what was handed out, those are left out that most submissions hold byte by byte.
    """
    if out is not None:
        support = out.digests
    else:
        holders = Counter(digest for entry in opened for digest in {digest for digest, _ in entry.weights})
        most = max(ENOUGH, len(opened) // 2 + 1)
        support = {digest for digest, number in holders.items() if number >= most}
    return [checkpoint for entry in opened for digest, checkpoint in entry.weights if digest not in support]


def _group(opened: list[HandedIn], pairs: list[Pair], passage: Passage | None = None) -> Group:
    members = sorted({member for pair in pairs for member in (pair.first, pair.second)})
    named = tuple((opened[pair.first].record, opened[pair.second].record, pair.share) for pair in pairs)
    return Group(tuple(opened[member].record for member in members), named, passage)
