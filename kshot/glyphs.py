"""Glyphs: procedural handwriting, the data set that needs no download: alphabets, their characters, their writers."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from kshot.strokes import BESIDE, BRIDGE, CHAIN, COMMON, CROSS, PIECES, TOUCH, ink, place, trace, vocabulary

STROKES, POINTS = 6, 64  # strokes a character at most, points a stroke
PEN = 0.82  # radius in pixels
RELATIONS = {CHAIN: 0.9, TOUCH: 1.8, CROSS: 0.6, BRIDGE: 0.7, BESIDE: 0.5}  # how often a stroke is placed each way
JOINTS = ((0.0, 3.0), (0.25, 1.0), (0.5, 1.5), (0.75, 1.0), (1.0, 3.0))  # where on a stroke another joins, how often


@dataclass(frozen=True)
class Plan:
    """What C characters are, before anybody draws them: up to S strokes of P pieces, in units of a long stroke."""

    heading: Tensor  # [C, S] radians
    corners: Tensor  # [C, S, P] radians
    lengths: Tensor  # [C, S, P]
    bends: Tensor  # [C, S, P] radians
    present: Tensor  # bool [C, S]: which strokes the character has
    relation: Tensor  # int64 [C, S]: how each stroke is placed
    on: Tensor  # int64 [C, S, 2]: the earlier strokes that it joins
    at: Tensor  # [C, S, 2]: where on them, 0 their start, 1 their end
    aside: Tensor  # complex [C, S]: how far from its joint a stroke stands that only keeps near
    size: Tensor  # [C] pixels

    def keep(self, chosen: Tensor) -> "Plan":
        """Only the characters at the indices `chosen`."""
        return Plan(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True)
class Hands:
    """What D writers do to whatever they draw, each [D]; all zeros are a steady hand that follows the plan."""

    slant: Tensor  # pixels to the right for each pixel upwards
    lean: Tensor  # radians by which everything is turned
    stretch: Tensor  # log of the width, at the same height
    grow: Tensor  # log of the size
    shift: Tensor  # complex, pixels off the usual place
    bend: Tensor  # share by which arcs turn further than planned
    joint: Tensor  # complex, by how much joints are misplaced
    later: Tensor  # log of the size of all strokes but the first
    rounding: Tensor  # log of how round corners become
    shake: Tensor  # radians of wobble
    loose: Tensor  # how much one drawing differs from the next
    pen: Tensor  # pixels by which the pen is thicker


def generate(
    seed: int = 0, alphabets: int = 50, characters: int | None = None, writers: int = 20
) -> tuple[Tensor, Tensor]:
    """Invent alphabets and have people write them; another seed gives others.

    An alphabet has its own handful of stroke shapes and its own ways of joining them; a writer has a slant, a size,
    a pen, habits, the same in all characters of an alphabet. As in Omniglot (Lake et al., "Human-level concept
    learning through probabilistic program induction", 2015) a character is a small programme of strokes that start
    on, cross, or stand beside earlier ones, and each drawing is a noisy run of it.

    `characters` is how many there are in all alphabets together; by default in proportion to Omniglot's 1,623 in
    50. Returns images uint8 [characters, writers, 1, 28, 28], 255 = full ink, and the alphabet of each character,
    int64 [characters], ascending. Raises ValueError where there would be an alphabet without characters or writers.
    """
    if characters is None:
        characters = round(alphabets * 1623 / 50)
    if alphabets < 1 or characters < alphabets or writers < 1:
        raise ValueError(
            f"{alphabets} alphabets, {characters} characters, {writers} writers: there must be at least one alphabet, "
            "one character in each, and one writer"
        )
    generator = torch.Generator().manual_seed(seed)
    sizes, images = _sizes(alphabets, characters, generator), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thousands of small operations: on a busy machine their threads wait for each other
    try:
        for size in sizes:
            plan = _legible(_plan(3 * size, generator), size, generator)
            images.append(_draw(plan, _hands(writers, generator), generator))
    finally:
        torch.set_num_threads(threads)
    return torch.cat(images), torch.repeat_interleave(torch.arange(alphabets), torch.tensor(sizes))


def _sizes(alphabets: int, characters: int, generator: torch.Generator) -> list[int]:
    """How many characters each alphabet has: `characters` in all, the largest up to four times the smallest."""
    share = 0.45 + 1.25 * torch.rand(alphabets, generator=generator)
    edges = (share.cumsum(0) / share.sum() * (characters - alphabets)).round().long()
    return (1 + torch.diff(edges, prepend=torch.zeros(1, dtype=torch.long))).tolist()


def _plan(count: int, generator: torch.Generator) -> Plan:
    """Invent an alphabet's style and stroke shapes, and `count` characters made of them."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def taste(weights: Tensor, strength: float) -> Tensor:
        return weights * (strength * torch.randn(len(weights), generator=generator)).exp()

    def choose(weights: Tensor, *shape: int) -> Tensor:
        return torch.multinomial(weights, math.prod(shape), replacement=True, generator=generator).view(shape)

    C, S = count, STROKES
    kinds = choose(taste(COMMON, 1.0), int(5 + 8 * uniform(1)))
    shapes = vocabulary(kinds, uniform(len(kinds)) < 0.3 + 0.8 * uniform(1), generator)
    word = choose(taste(torch.ones(len(kinds)), 0.6), C, S)
    relation = choose(taste(torch.tensor([RELATIONS[how] for how in range(len(RELATIONS))]), 0.8), C, S)
    turning, mirroring, repeating, more = uniform(4) * torch.tensor([1.0, 0.5, 0.5, 2.2])
    turn = torch.where(uniform(C, S) < turning, (4 * uniform(C, S)).floor(), 0) * (math.pi / 2)
    scale = torch.where(torch.arange(S) == 0, 1.0, 0.35 + 0.65 * uniform(C, S))
    on = (uniform(C, S, 2) * torch.arange(S)[:, None]).long()
    again = uniform(C, S) < repeating  # the last stroke once more, elsewhere on the same earlier one
    for s in range(2, S):
        for what in (word, relation, turn, scale, on):
            what[again[:, s], s] = what[again[:, s], s - 1]
    mirror = torch.where(uniform(C, S) < mirroring, -1.0, 1.0)
    heading, corners, lengths, bends = (shape[word] for shape in shapes)
    strokes = 1 + torch.poisson((0.3 + more).expand(C), generator=generator)
    where, often = torch.tensor(JOINTS).T
    return Plan(
        heading=mirror * heading + turn,
        corners=mirror[..., None] * corners,
        lengths=scale[..., None] * lengths,
        bends=mirror[..., None] * bends,
        present=torch.arange(S) < strokes[:, None],
        relation=relation,
        on=on,
        at=where[choose(often, C, S, 2)],
        aside=torch.polar(0.3 + 0.4 * uniform(C, S), 2 * math.pi * uniform(C, S)),
        size=15.4 * (0.10 * torch.randn(1, generator=generator) + 0.10 * torch.randn(C, generator=generator)).exp(),
    )


def _legible(plan: Plan, count: int, generator: torch.Generator) -> Plan:
    """Keep `count` of three times as many: not the lopsided and crowded, nor those that look like another."""
    steady = Hands(*(torch.zeros(1) for _ in fields(Hands)))
    # In float64: the order of a sum, another on another machine, must not change which characters are chosen.
    seen = _draw(plan, steady, generator).double().view(-1, 28, 28) / 255
    axis = torch.arange(28.0, dtype=torch.float64)
    pixels = torch.complex(*torch.meshgrid(axis, axis, indexing="xy")).flatten()
    total = seen.sum((1, 2)).clamp_min(1)
    share = seen.flatten(1) / total[:, None]
    offset = pixels - (share * pixels).sum(1, keepdim=True)
    spread, twist = (share * offset.abs() ** 2).sum(1) + 1, (share * offset**2).sum(1)  # xx + yy; xx - yy + 2i xy
    awkward = (0.5 * twist.imag.abs() + 0.3 * twist.real.abs() + 0.1 * total) / spread
    awkward += 0.05 * torch.randn(len(seen), generator=generator)
    kept = awkward.argsort()[: 2 * count].sort().values
    blurred = F.normalize(F.avg_pool2d(seen[kept, None], 3, 1, 1).flatten(1), dim=1)
    alike = (blurred @ blurred.T).tril(-1)  # [2 count, 2 count], each pair once
    left = torch.ones(len(kept), dtype=torch.bool)
    for _ in range(len(kept) - count):
        copy = alike.amax(1).argmax()
        left[copy], alike[copy], alike[:, copy] = False, -1, -1
    return plan.keep(kept[left])


def _hands(writers: int, generator: torch.Generator) -> Hands:
    """Invent `writers` people."""

    def normal(deviation: float) -> Tensor:
        return deviation * torch.randn(writers, generator=generator)

    return Hands(
        slant=normal(0.17),
        lean=normal(0.07),
        stretch=normal(0.12),
        grow=normal(0.10),
        shift=torch.complex(normal(0.75), normal(0.75)),
        bend=normal(0.10),
        joint=torch.complex(normal(0.04), normal(0.04)),
        later=normal(0.10),
        rounding=normal(0.7),
        shake=0.08 * normal(0.4).exp(),
        loose=1.15 * normal(0.25).exp(),
        pen=normal(0.05),
    )


def _draw(plan: Plan, hands: Hands, generator: torch.Generator) -> Tensor:
    """Each character by each writer: uint8 [C, D, 1, 28, 28]."""
    (C, S), D = plan.heading.shape, len(hands.slant)

    def noise(deviation: float, rows: int, *shape: int) -> Tensor:  # [rows, D, *shape]: differs in each drawing
        loose = hands.loose.view(D, *[1] * len(shape))
        return deviation * loose * torch.randn(rows, D, *shape, generator=generator)

    points = _fit(_write(plan, hands, noise), plan, hands, noise)  # [C, D, S, POINTS]
    present = plan.present.repeat_interleave(D, 0)
    images = ink(points.view(C * D, S, POINTS), present, (PEN + hands.pen).repeat(C))
    return images.view(C, D, 1, 28, 28)


def _write(plan: Plan, hands: Hands, noise: Callable[..., Tensor]) -> Tensor:
    """The strokes of each drawing, each in its place: complex [C, D, S, POINTS], in the plan's units."""
    (C, S), D = plan.heading.shape, len(hands.slant)
    character, place_in = plan.present.nonzero(as_tuple=True)  # only the K strokes that exist are traced
    heading, corners, lengths, bends = (
        x[character, place_in][:, None] for x in (plan.heading, plan.corners, plan.lengths, plan.bends)
    )
    K, along = len(character), torch.linspace(0, 1, POINTS)
    rounding = 0.12 * hands.rounding.exp()  # [D]
    later = torch.where((place_in == 0)[:, None], 1, hands.later.exp())  # [K, D]
    swings = 2 * math.pi * torch.tensor([0.5, 1.0, 2.0])[:, None] * along
    wobble = noise(0.7, K, 6) @ torch.cat([swings.sin(), swings.cos()])  # [K, D, POINTS]
    drawn = trace(
        heading + noise(0.09, K),
        corners * (1 + noise(0.09, K, PIECES)),
        lengths * noise(0.18, K, PIECES).exp() * later[..., None],
        bends * (1 + hands.bend[:, None] + noise(0.10, K, PIECES)),
        rounding,
        hands.shake[:, None] * wobble,
    )
    planned = trace(heading, corners, lengths, bends, rounding.mean()[None], torch.zeros(1, 1, POINTS))
    slip = torch.complex(noise(0.08, K), noise(0.08, K)) * lengths.sum(-1)
    miss = planned[..., -1] * later + slip - drawn[..., -1]
    paths = torch.zeros(C, D, S, POINTS, dtype=drawn.dtype)
    paths[character, :, place_in] = drawn + 0.6 * miss[..., None] * along  # the eye corrects the hand, in part
    joints = hands.joint[:, None, None] + torch.complex(noise(0.05, C, S, 2), noise(0.05, C, S, 2))
    place(paths, plan.relation, plan.on, plan.at, plan.aside, joints)
    return paths


def _fit(paths: Tensor, plan: Plan, hands: Hands, noise: Callable[..., Tensor]) -> Tensor:
    """Slant, stretch and move each drawing [C, D, S, POINTS] to its place on the canvas, in pixels."""
    C = len(paths)
    turn = (hands.lean + noise(0.04, C))[..., None, None]
    paths = paths * torch.polar(torch.ones_like(turn), turn)
    x = paths.real - (hands.slant + noise(0.06, C))[..., None, None] * paths.imag
    x, y = x * (hands.stretch + noise(0.07, C)).exp()[..., None, None], paths.imag

    here = plan.present[:, None, :, None]
    low_x, low_y = (torch.where(here, v, math.inf).amin((-2, -1), keepdim=True) for v in (x, y))
    high_x, high_y = (torch.where(here, v, -math.inf).amax((-2, -1), keepdim=True) for v in (x, y))
    width, height = high_x - low_x, high_y - low_y  # [C, D, 1, 1]
    extent = ((width**4 + height**4) / 2) ** 0.25
    usual = extent.mean(1, keepdim=True)
    size = plan.size[:, None, None, None] * (usual / usual.median()).clamp(0.15, 3) ** 0.25  # a dot stays small
    size = size * (hands.grow + noise(0.06, C)).exp()[..., None, None]
    scale = torch.minimum(size / extent.clamp_min(1e-3), 24 / torch.maximum(width, height).clamp_min(1e-3))
    shift = (hands.shift + torch.complex(noise(1.0, C), noise(1.0, C)))[..., None, None]
    room_x, room_y = ((12.5 - side * scale / 2).clamp_min(0) for side in (width, height))
    x = 13.1 + (x - (low_x + high_x) / 2) * scale + shift.real.clamp(-room_x, room_x)
    y = 12.8 + (y - (low_y + high_y) / 2) * scale + shift.imag.clamp(-room_y, room_y)
    return torch.complex(x, y)
