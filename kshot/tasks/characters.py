"""Distributions over few-shot classification tasks, each drawn by one gather from one tensor of images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.episodes import Episodes


@dataclass(frozen=True)
class FewShot:
    """N-way K-shot episodes (Vinyals et al., "Matching Networks for One Shot Learning", 2016).

    images:    uint8 [classes, drawers, 1, H, W], 255 is full ink; episodes live on its device
    ways:      N, classes an episode
    shots:     K, support examples a class
    queries:   query examples a class
    rotations: whether a class turned by 90, 180 or 270 degrees is a class of its own (needs H = W)

    Support and query show different drawings, and which class gets which label is drawn anew for each
    task. Raises ValueError where there are fewer classes than ways, or fewer drawers than shots + queries.
    """

    images: Tensor
    ways: int
    shots: int
    queries: int
    rotations: bool = False

    def __post_init__(self) -> None:
        if self.images.dim() != 5:
            raise ValueError(f"images must be [classes, drawers, 1, H, W], but has shape {tuple(self.images.shape)}")
        if self.images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 with 255 as full ink, but are {self.images.dtype}")
        if self.rotations and self.images.shape[-1] != self.images.shape[-2]:
            raise ValueError(f"only square images can be rotated, but these are {tuple(self.images.shape[-2:])}")
        for name in ("ways", "shots", "queries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")
        drawers = self.images.shape[1]
        if self.ways > self.classes:
            raise ValueError(
                f"{self.ways} ways need {self.ways} classes, but there are only {self.classes}: ask for fewer"
            )
        if self.shots + self.queries > drawers:
            raise ValueError(
                f"{self.shots} shots and {self.queries} queries a class need {self.shots + self.queries} different "
                f"drawings, but each class has only {drawers}: ask for fewer"
            )
        object.__setattr__(self, "images", self.images.contiguous())  # one axis of all drawings is then a view

    @property
    def classes(self) -> int:
        """How many classes can be drawn, rotated ones included."""
        return len(self.images) * (4 if self.rotations else 1)

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` episodes: support_x [T, N*K, 1, H, W] float32 in 0..1, query_x [T, N*queries, 1, H, W]."""
        # Random keys sorted: the first N (or K + queries) places are a draw without replacement. The position of
        # a class in the draw is its label, so labels are shuffled too.
        classes = _draw(tasks, self.classes, self.ways, generator)  # [T, N]
        drawings = _draw(tasks * self.ways, self.images.shape[1], self.shots + self.queries, generator)
        drawings = drawings.view(tasks, self.ways, -1)  # [T, N, K + queries]
        shots, queries = drawings.split([self.shots, self.queries], dim=2)
        return Episodes.unchecked(*self._gather(classes, shots), *self._gather(classes, queries))

    def _gather(self, classes: Tensor, drawings: Tensor) -> tuple[Tensor, Tensor]:
        tasks, ways, each = drawings.shape
        labels = torch.arange(ways).repeat_interleave(each).expand(tasks, -1).contiguous()  # [T, N * each]
        classes = classes.repeat_interleave(each, dim=1)  # [T, N * each]
        turns, characters = classes // len(self.images), classes % len(self.images)
        device = self.images.device
        which = (characters * self.images.shape[1] + drawings.reshape(tasks, -1)).to(device)  # [T, N * each]
        # index_select on one axis is many times faster on a CPU than an index of two
        x = self.images.flatten(0, 1).index_select(0, which.flatten()).unflatten(0, which.shape)
        if self.rotations:
            x = turn(x, turns.to(device))
        return x.float().div_(255), labels.to(device)


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each square image [..., 1, H, H] by its own number of quarter turns [...] (0..3), anticlockwise."""
    flat, which = images.flatten(0, turns.dim() - 1), turns.flatten()
    turned = flat.clone()
    for quarter in (1, 2, 3):
        here = which == quarter
        turned[here] = torch.rot90(flat[here], quarter, dims=(-2, -1))
    return turned.view_as(images)


def _draw(rows: int, population: int, size: int, generator: torch.Generator) -> Tensor:
    """[rows, size] distinct indices below `population` in each row, in random order."""
    return torch.rand(rows, population, generator=generator).topk(size, dim=1).indices


@dataclass(frozen=True)
class CharacterOrWriter:
    """Two questions about the same drawings: which character is it, or whose hand drew it?

    Each task takes three characters c1, c2, c3 of one alphabet and three of its writers w1, w2, w3. The support
    is (c1, w2), (c2, w1), (c2, w2), (c3, w3), the query (c1, w1), and the labels (three, shuffled) name
    characters (`by="character"`) or writers (`by="writer"`). The images alone do not tell which is asked; the
    support's labels do, because (c2, w2) shares its label with either (c2, w1) or (c1, w2).

    images:   uint8 [classes, drawers, 1, H, W]; the drawer axis means the same person within an alphabet
    alphabet: int64 [classes]
    by:       "character", "writer", or "either" (a coin per task)
    """

    images: Tensor
    alphabet: Tensor
    by: str = "either"

    CHARACTERS = (0, 1, 1, 2, 0)  # of the four support drawings and the query
    WRITERS = (1, 0, 1, 2, 0)

    def __post_init__(self) -> None:
        if self.by not in ("character", "writer", "either"):
            raise ValueError(f'by must be "character", "writer" or "either", but is {self.by!r}')
        if self.images.shape[1] < 3 or not len(self._alphabets()):
            raise ValueError("a task needs an alphabet of at least three characters, each drawn by three writers")

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw `tasks` episodes: support_x [T, 4, 1, H, W] float32 in 0..1, query_x [T, 1, 1, H, W]."""
        alphabets = self._alphabets()
        chosen = alphabets[torch.randint(len(alphabets), (tasks,), generator=generator)]  # [T]
        keys = torch.rand(tasks, len(self.images), generator=generator)
        keys = keys.masked_fill(self.alphabet.cpu() != chosen[:, None], -1.0)  # only the alphabet's characters
        characters = keys.topk(3, dim=1).indices  # [T, 3]
        writers = _draw(tasks, self.images.shape[1], 3, generator)  # [T, 3]
        device = self.images.device
        x = self.images[characters[:, self.CHARACTERS].to(device), writers[:, self.WRITERS].to(device)].float() / 255
        coin = torch.rand(tasks, generator=generator) < 0.5
        by_writer = coin if self.by == "either" else torch.full((tasks,), self.by == "writer")
        roles = torch.where(by_writer[:, None], torch.tensor(self.WRITERS), torch.tensor(self.CHARACTERS))  # [T, 5]
        labels = _draw(tasks, 3, 3, generator).gather(1, roles).to(device)  # [T, 5]
        return Episodes(x[:, :4], labels[:, :4], x[:, 4:], labels[:, 4:])

    def _alphabets(self) -> Tensor:
        sizes = torch.bincount(self.alphabet.cpu())
        return (sizes >= 3).nonzero().flatten()
