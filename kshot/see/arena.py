"""`arena`: draw five characters and a query, drag the labels about, and watch learners answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import ipywidgets
import torch
import traitlets
from torch import Tensor

from kshot.data import Characters
from kshot.data import characters as default_characters
from kshot.see.arena_picture import COLOURS, LABELS, ArenaPicture
from kshot.see.pad import glyph_of, pack
from kshot.see.picture import Canvas
from kshot.see.plane import HERE, Plane, to_bytes
from kshot.see.still import mimebundle
from kshot.tasks import FewShot

WAYS = len(LABELS)


@torch.no_grad()
def probabilities(learner: Callable, glyphs: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    """What a learner makes of one drawing: y = f(D_train, x), as probabilities [5] of the five labels.

    Args:
        learner: called as ``learner(support_x, support_y, query_x)``, gives logits [1, 1, 5].
        glyphs: the five support drawings [5, 28, 28] in 0..1.
        labels: the label on each, a permutation of 0..4, [5].
        query: the drawing that is asked about, [28, 28].
    """
    support_x = glyphs[None, :, None]  # [1, 5, 1, 28, 28]: one task
    query_x = query[None, None, None]  # [1, 1, 1, 28, 28]
    return learner(support_x, labels[None], query_x)[0, 0].softmax(-1)  # [5]


@torch.no_grad()
def embedding_map(learner: Any, glyphs: Tensor, query: Tensor) -> tuple[Tensor, int] | None:
    """The embedding in two dimensions: positions [6, 2] of the five support drawings and the query, and which
    support is nearest to the query in the full embedding; None where the learner has no `embed`.

    The plane is that of the support's two main directions, so it stands still while the query is drawn.
    """
    support_x, query_x = glyphs[None, :, None], query[None, None, None]
    if hasattr(learner, "embed_both"):
        z, z_query = learner.embed_both(support_x, query_x)
    elif hasattr(learner, "embed"):
        z, z_query = learner.embed(torch.cat([support_x, query_x], 1)).split([len(glyphs), 1], 1)
    else:
        return None
    z, z_query = z.flatten(2)[0], z_query.flatten(2)[0]  # [5, D], [1, D]
    centre = z.mean(0)
    axes = torch.linalg.svd(z - centre, full_matrices=False).Vh[:2]  # [2, D]
    first = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = axes * torch.where(first < 0, -1.0, 1.0)  # a sign for each direction that does not flip by chance
    return (torch.cat([z, z_query]) - centre) @ axes.T, int((z - z_query).square().sum(-1).argmin())


class ArenaPads(anywidget.AnyWidget):
    """Five support pads with draggable label tags, a query pad, and a button that refills them."""

    _esm = (HERE / "ink.js").read_text() + (HERE / "arena.js").read_text()
    _css = (HERE / "ink.css").read_text() + (HERE / "arena.css").read_text()

    labels = traitlets.List(list(LABELS)).tag(sync=True)
    colours = traitlets.List(list(COLOURS)).tag(sync=True)
    presets = traitlets.Bytes(bytes(6 * 784)).tag(sync=True, from_json=to_bytes)
    drawn = traitlets.List([None] * 6).tag(
        sync=True, echo_update=False
    )  # strokes on each pad; None where nothing was drawn yet
    tags = traitlets.List(list(range(WAYS))).tag(sync=True)  # the label on each support pad
    nearest = traitlets.Int(-1).tag(sync=True)
    surprises = traitlets.Int(0).tag(sync=True)


class Arena(ipywidgets.VBox):
    """Pads, tags, and below them one row for each learner: its probabilities and its map; made by `arena`."""

    def __init__(
        self,
        learners: Sequence[Callable],
        names: Sequence[str],
        data: Characters,
        seed: int,
        answer: Callable[..., Tensor] = probabilities,
        saved_swap: tuple[int, int] | None = None,
    ):
        self.learners, self.names = list(learners), list(names)
        self._ask, self._saved_swap = torch.no_grad()(answer), saved_swap
        self._tasks = FewShot(data.images, ways=WAYS, shots=1, queries=1)
        self._generator = torch.Generator().manual_seed(seed)
        self._lock = threading.RLock()
        self._canvas = Canvas(ArenaPicture(self.names))
        width, height = self._canvas.size
        self._pads = ArenaPads()
        self._plane = Plane(width=width, height=height)
        self._refill()
        self._answer()
        self._pads.observe(self._changed, ["drawn", "tags"])
        self._pads.observe(self._surprise, "surprises")
        super().__init__([self._pads, self._plane])

    @property
    def labels(self) -> Tensor:
        """The label on each support pad, int64 [5]."""
        return torch.tensor(self._pads.tags)

    @property
    def glyphs(self) -> Tensor:
        """The five support drawings and the query, float [6, 28, 28]."""
        return self._glyphs.clone()

    def swap(self, a: int, b: int) -> None:
        """Exchange the labels of support pads `a` and `b` (0..4), as dragging one tag onto the other does."""
        tags = list(self._pads.tags)
        tags[a], tags[b] = tags[b], tags[a]
        self._pads.tags = tags

    def _refill(self) -> None:
        episode = self._tasks.sample(1, self._generator)
        order = torch.randperm(WAYS, generator=self._generator)
        asked = int(torch.randint(WAYS, (), generator=self._generator))
        self._presets = torch.cat([episode.support_x[0, order, 0], episode.query_x[0, [asked], 0]])  # [6, 28, 28]
        self._glyphs, self._strokes = self._presets.clone(), [None] * 6
        with self._pads.hold_sync():
            self._pads.drawn, self._pads.tags = [None] * 6, list(range(WAYS))
            self._pads.presets = pack(self._presets)

    def state(self, labels: Tensor | None = None) -> dict[str, Any]:
        """What the picture shows: glyphs, labels, and each learner's probabilities, map and nearest support."""
        glyphs, query, labels = self._glyphs[:WAYS], self._glyphs[WAYS], self.labels if labels is None else labels
        answers = []
        for learner in self.learners:
            found = embedding_map(learner, glyphs, query)
            places, nearest = found if found else (None, -1)
            answers.append({"p": self._ask(learner, glyphs, labels, query), "map": places, "nearest": nearest})
        return {"glyphs": self._glyphs, "labels": labels, "answers": answers, "asked": bool(query.any())}

    def _words(self, state: dict[str, Any]) -> str:
        if not state["asked"]:
            return "The query pad is empty: draw on it."
        said = (
            f"{name} says {LABELS[int(answer['p'].argmax())]}, {100 * float(answer['p'].max()):.0f} %"
            for name, answer in zip(self.names, state["answers"])
        )
        return "; ".join(said) + "."

    def _answer(self) -> None:
        state = self.state()
        frame = self._canvas.png(state)
        with self._plane.hold_sync():
            self._plane.frame, self._plane.error = frame, ""
            self._plane.alt = f"Probabilities of the five labels, and a map of the embedding. {self._words(state)}"
            self._plane.note = self._words(state)
        self._pads.nearest = state["answers"][0]["nearest"] if state["asked"] else -1

    def _attempt(self, action: Callable[[], None]) -> None:
        with self._lock:
            try:
                action()
                self._answer()
            except Exception as error:  # shown in the widget: callbacks leave no trace in the cell
                self._plane.error = f"The learner could not answer. {type(error).__name__}: {error}"

    def _changed(self, _change) -> None:
        self._attempt(self._read_pads)

    def _surprise(self, _change) -> None:
        self._attempt(self._refill)

    def _read_pads(self) -> None:
        for i, strokes in enumerate(self._pads.drawn):
            if strokes != self._strokes[i]:
                self._strokes[i] = strokes
                self._glyphs[i] = self._presets[i] if strokes is None else glyph_of(strokes)

    def _after_swap(self, before: dict[str, Any], a: int, b: int) -> tuple[dict[str, Any], str]:
        """The state with the labels of pads `a` and `b` exchanged, which keeps what was said before; and words."""
        labels = before["labels"].clone()
        labels[[a, b]] = labels[[b, a]]
        after = self.state(labels)
        for new, old in zip(after["answers"], before["answers"]):
            new["before"] = old["p"]
        first, second = sorted(LABELS[int(labels[i])] for i in (a, b))
        after["swapped"] = f"{first} and {second} have changed places"
        return after, f"{after['swapped']}; before, {self._words(before)} Now, "

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        canvas = Canvas(ArenaPicture(self.names, with_glyphs=True))
        with self._lock:
            state, swapped = self.state(), ""
            if self._saved_swap:
                state, swapped = self._after_swap(state, *self._saved_swap)
        named = ", ".join(LABELS[int(label)] for label in state["labels"])
        alt = f"Five drawings labelled {named}, and a query. {swapped}{self._words(state)}"
        live = super()._repr_mimebundle_(**kwargs) or {}
        return {**live, **mimebundle(canvas.pixels(state, 2.0), alt, canvas.size[0])}


def arena(
    *learners: Callable,
    names: Sequence[str] | None = None,
    characters: Characters | None = None,
    seed: int = 0,
    answer: Callable[..., Tensor] = probabilities,
    saved_swap: tuple[int, int] | None = None,
) -> Arena:
    """Draw five characters, drag their labels, draw a query: every learner answers while you draw.

    Args:
        learners: anything called as ``learner(support_x, support_y, query_x)`` that gives logits [1, 1, 5]; the
            map needs a method `embed` ([1, B, 1, 28, 28] -> [1, B, D]) too.
        names: what to call them; by default their classes.
        characters: where the drawings to start with come from; by default the test alphabets of
            `kshot.data.characters`.
        seed: which drawings.
        answer: called as ``answer(learner, glyphs, labels, query)`` at every change; gives the probabilities [5].
        saved_swap: two support pads (0..4); the saved picture shows the moment after their labels are exchanged.

    Raises:
        ValueError: no learner, or not as many names as learners.
    """
    if not learners:
        raise ValueError("arena needs at least one learner: arena(kshot.PixelNeighbour())")
    names = list(names) if names is not None else [type(learner).__name__ for learner in learners]
    if len(names) != len(learners):
        raise ValueError(f"{len(names)} names for {len(learners)} learners: give one each")
    data = characters if characters is not None else default_characters().split("test")
    return Arena(learners, names, data, seed, answer, saved_swap)
