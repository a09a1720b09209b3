"""Lecture 00's exercises on episodes: solve some by hand, and sample one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kshot.episodes import Episodes
from kshot.exercises import UNANSWERED

WAYS, SHOTS, QUERIES, CLASSES = 3, 2, 4, 30
DRAWERS = SHOTS + QUERIES  # just enough: a drawing that is used twice cannot hide


def by_hand(answer: tuple[Episodes, list[int]]) -> str | None:
    """(episodes of a CharacterOrWriter, one tag a row): whether each query got the tag that its support implies."""
    puzzles, tags = answer
    if tags is None or tags is Ellipsis or all(tag is None or tag is Ellipsis for tag in tags):
        return UNANSWERED
    if empty := [row for row, tag in enumerate(tags, start=1) if tag is None or tag is Ellipsis]:
        return f"row {', row '.join(map(str, empty))}: there is no tag yet, while other rows have one."
    if len(tags) != puzzles.tasks:
        return f"there are {puzzles.tasks} rows, but you gave {len(tags)} tags: one for each row's query."
    for row, tag in enumerate(tags, start=1):
        if tag not in (0, 1, 2):
            return f"row {row}: {tag!r} is no tag, the tags there are 0, 1 and 2."
    same_character, same_writer = puzzles.support_y[:, 0].tolist(), puzzles.support_y[:, 1].tolist()
    right = puzzles.query_y[:, 0].tolist()
    if right != tags and tags in (same_character, same_writer):
        went_by, ignored = ("character", "pen") if tags == same_character else ("pen", "character")
        row = next(row for row, (r, tag) in enumerate(zip(right, tags), start=1) if r != tag)
        return f"you went by the {went_by} in every row, but in row {row} the two with one tag share the {ignored}."
    for row, (r, tag, character, writer) in enumerate(zip(right, tags, same_character, same_writer), start=1):
        if tag not in (character, writer):
            return f"row {row}: the drawing tagged {tag} shares neither its character nor its pen with the query."
        if tag != r:
            went_by, ignored = ("character", "pen") if tag == character else ("pen", "character")
            return f"row {row}: you went by the {went_by}, but there the two with one tag share the {ignored}."
    return None


def episode(sample: Callable) -> str | None:
    """sample(images, ways, shots, queries, generator) -> support_x, support_y, query_x, query_y of one task."""
    seen, shown = set(), set()
    for seed in range(10):
        found = _sampled(sample, CLASSES, seed)
        wrong = _shapes(found) or _content(*found)
        if wrong:
            return wrong
        again = _sampled(sample, CLASSES, seed)
        if not all(torch.equal(a, b) for a, b in zip(found, again)):
            return "the same seed gave two different episodes: take every random number from `generator`."
        classes, drawers = _which(found[0])
        seen.add(tuple(sorted(classes.tolist())))
        shown.update(tuple(sorted(drawers[classes == c].tolist())) for c in classes.unique())
    if len(seen) == 1:
        return "ten seeds gave the same classes ten times: draw the classes anew for each episode."
    if len(shown) == 1:
        places = " and ".join(map(str, shown.pop()))
        return f"the support shows drawings {places} of every class, in every episode: draw the drawings at random too."
    labels = set()
    for seed in range(20):  # as many classes as ways: only drawings and labels are left to chance
        found = _sampled(sample, WAYS, seed)
        wrong = _shapes(found) or _content(*found)
        if wrong:
            return wrong
        labels.add(int(found[1][_which(found[0])[0] == 0][0]))
    if len(labels) == 1:
        return f"a class that was drawn 20 times got label {labels.pop()} each time: deal the labels out anew."
    return None


def _sampled(sample: Callable, classes: int, seed: int) -> tuple:
    images = torch.zeros(classes, DRAWERS, 1, 28, 28, dtype=torch.uint8)
    images[..., 0, 0] = torch.arange(classes, dtype=torch.uint8)[:, None, None]  # each image says what it is
    images[..., 0, 1] = torch.arange(DRAWERS, dtype=torch.uint8)[:, None]
    images[..., 0, 2] = 255
    return sample(images, WAYS, SHOTS, QUERIES, torch.Generator().manual_seed(seed))


def _which(x: Tensor) -> tuple[Tensor, Tensor]:
    """The class and the drawer of each image, whether or not it was scaled to 0..1."""
    pixels = x[:, 0, 0, :3].double()
    pixels = (pixels * 255 / pixels[:, 2:].clamp(min=1e-6)).round().long()
    return pixels[:, 0], pixels[:, 1]


def _shapes(found) -> str | None:
    if found is None:
        return UNANSWERED
    if not isinstance(found, tuple | list) or len(found) != 4 or not all(isinstance(part, Tensor) for part in found):
        return "return four tensors: support_x, support_y, query_x, query_y."
    for side, x, y, each in (("support", *found[:2], SHOTS), ("query", *found[2:], QUERIES)):
        n = WAYS * each
        sizes = f"{WAYS} ways with {each} drawings each"
        if tuple(x.shape) != (n, 1, 28, 28):
            return f"{side}_x has shape {list(x.shape)}, but {sizes} make [{n}, 1, 28, 28]."
        if tuple(y.shape) != (n,):
            return f"{side}_y has shape {list(y.shape)}, but {sizes} need [{n}]: one label for each drawing."
        if y.is_floating_point():
            return f"{side}_y holds {y.dtype}: labels are whole numbers (torch.int64)."
    return None


def _content(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> str | None:
    (classes, drawers), (query_classes, query_drawers) = _which(support_x), _which(query_x)
    ways = classes.unique().tolist()
    if len(ways) < WAYS:
        return f"a {WAYS}-way support holds only {len(ways)} different classes: draw classes without replacement."
    if any(int((classes == c).sum()) != SHOTS for c in ways):
        return f"the support does not hold {SHOTS} drawings of each class."
    if set(query_classes.tolist()) != set(ways):
        return "the query shows other classes than the support: draw the classes once, for both."
    if torch.equal(support_y, classes) and max(ways) >= WAYS:
        return f"support_y holds rows of `images` ({', '.join(map(str, ways))}): relabel them 0..{WAYS - 1} each time."
    for side, y in (("support", support_y), ("query", query_y)):
        if set(y.tolist()) != set(range(WAYS)):
            return f"{side}_y holds the labels {sorted(set(y.tolist()))}, not 0..{WAYS - 1}."
    label = {c: int(support_y[classes == c][0]) for c in ways}
    if any(label[c] != y for c, y in zip(classes.tolist(), support_y.tolist())):
        return "two support drawings of one class carry different labels: images and labels stand in different orders."
    if any(label[c] != y for c, y in zip(query_classes.tolist(), query_y.tolist())):
        return "a class has one label in the support and another in the query: label the classes once, for both."
    shown, asked = (
        set(zip(classes.tolist(), drawers.tolist())),
        list(zip(query_classes.tolist(), query_drawers.tolist())),
    )
    if shown & set(asked):
        return "support and query share a drawing: the learner could look the answer up."
    if len(shown) + len(set(asked)) < len(classes) + len(asked):
        return "a drawing occurs twice within one episode: draw without replacement."
    return None


EXERCISES = {"by hand": by_hand, "episode": episode}
