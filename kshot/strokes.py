"""Pen strokes: a stroke is a short programme of corners and bends, traced to points in the complex plane, then inked.

Real part: x to the right; imaginary part: y downwards, as in an image. A rotation or scaling is one multiplication.
"""

import math

import torch
from torch import Tensor

CHAIN, TOUCH, CROSS, BRIDGE, BESIDE = range(5)  # how a stroke is placed: see `place`
PIECES = 4  # a stroke is at most this many pieces: each a corner, then an arc
KINDS = ("bar", "arc", "hook", "corner", "zigzag", "box", "wave", "loop", "knot", "three", "spiral", "dot")
COMMON = torch.tensor([4.0, 2.0, 1.6, 1.8, 0.5, 1.0, 0.8, 1.2, 0.5, 0.6, 0.4, 0.6])  # how often each kind is met


def vocabulary(kinds: Tensor, upright: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draws one stroke shape for each entry of `kinds` (an index into KINDS).

    kinds int64 [V]; upright bool [V]: whether its directions and corners are whole quarter turns.
    Returns heading [V], corners, lengths, bends [V, PIECES], as `trace` takes them.
    """

    def between(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    shapes = []
    for kind in kinds.tolist():
        bow, side = between(-12, 12), 1 if between(-1, 1) > 0 else -1
        pieces = {  # (corner, length, bend) of each piece, angles in degrees
            "bar": [(0, 1, bow)],
            "arc": [(0, 1.2, between(70, 220))],
            "hook": [(0, between(0.5, 1), bow), (0, between(0.3, 0.7), between(80, 220))],
            "corner": [(0, 1, bow), (between(60, 150), between(0.3, 1), bow)],
            "zigzag": [(0, 0.7, 0), (between(80, 150), 0.7, 0), (-between(80, 150), 0.7, 0)],
            "box": [(0, 0.8, 0)] + [(90, between(0.4, 0.9), 0)] * int(between(2, 4)),
            "wave": [(0, 0.8, between(90, 220)), (0, 0.8, -between(90, 220))],
            "loop": [(0, 1.8, between(320, 390))],
            "knot": [(0, between(0.3, 0.8), bow), (0, 1, between(270, 360)), (0, between(0.3, 0.8), bow)],
            "three": [(0, 0.9, between(150, 230)), (-between(100, 170), 0.9, between(150, 230))],
            "spiral": [(0, 1.2, between(200, 330)), (0, 0.5, between(120, 260))],
            "dot": [(0, 0.08, 0)],
        }[KINDS[kind]]
        pieces += [(0, 0, 0)] * (PIECES - len(pieces))
        shapes.append(
            [(side * math.radians(corner), length, side * math.radians(bend)) for corner, length, bend in pieces]
        )
    corners, lengths, bends = torch.tensor(shapes).unbind(-1)  # [V, PIECES] each
    quarter, count = math.pi / 2, len(kinds)
    heading = torch.rand(count, generator=generator) * 2 * math.pi
    level = torch.rand(count, generator=generator) < 0.5  # upright by its ends, as a V; else by its sides, as an L
    corners = torch.where((upright & ~level)[:, None], (corners / quarter).round() * quarter, corners)
    still = torch.zeros(count, 32)
    chord = trace(torch.zeros(count), corners, lengths, bends, torch.full((count,), 0.1), still)[:, -1].angle()
    chord = torch.where(level, chord, 0)
    heading = torch.where(upright, ((heading + chord) / quarter).round() * quarter - chord, heading)
    return heading, corners, lengths, bends


def trace(heading: Tensor, corners: Tensor, lengths: Tensor, bends: Tensor, rounding: Tensor, wobble: Tensor) -> Tensor:
    """Walks along a stroke, from 0: piece p turns sharply by `corners[p]`, then goes `lengths[p]` while bending.

    heading [...] and corners, bends [..., P] in radians (bends: the whole turn over a piece), lengths [..., P] >= 0,
    rounding [...]: over which share of the stroke a corner is spread; wobble [..., points]: added to the direction.
    Returns complex64 [..., points], starting at 0.
    """
    points = wobble.shape[-1]
    total = lengths.sum(-1, keepdim=True).clamp_min(1e-6)
    share = lengths / total
    starts = share.cumsum(-1) - share  # [..., P]
    along = torch.linspace(0, 1, points, device=heading.device)
    direction = heading[..., None] + wobble  # [..., points]
    for piece in range(lengths.shape[-1]):
        behind = along - starts[..., piece, None]
        turned = (behind / rounding[..., None] + 0.5).clamp(0, 1)
        done = (behind / share[..., piece, None].clamp_min(1e-6)).clamp(0, 1)
        direction = direction + corners[..., piece, None] * turned + bends[..., piece, None] * done
    steps = torch.polar((total / (points - 1)).expand_as(direction), direction)
    steps[..., 0] = 0
    return steps.cumsum(-1)


def place(paths: Tensor, relation: Tensor, on: Tensor, at: Tensor, aside: Tensor, joints: Tensor) -> None:
    """Move each stroke in turn to its place on the earlier ones, in place.

    paths complex [C, D, S, N], each stroke from 0; relation int64 [C, S]: CHAIN starts at the end of the stroke before,
    TOUCH starts on an earlier stroke, CROSS has its middle there, BRIDGE starts on one and ends on another (turned and
    scaled; where that would deform it, it touches), BESIDE keeps its middle `aside` (complex [C, S]) of it.
    on int64 [C, S, 2]: the earlier strokes, at [C, S, 2]: how far along them, 0 to 1; joints complex [C, D, S, 2]: by
    how much each joint is missed.
    """
    rows, N = torch.arange(len(paths)), paths.shape[-1]
    index = (at * (N - 1)).round().long()
    for s in range(1, paths.shape[2]):
        first, second = (paths[rows, :, on[:, s, k], index[:, s, k]] + joints[:, :, s, k] for k in (0, 1))  # [C, D]
        own, how = paths[:, :, s], relation[:, s, None]
        span, middle = own[..., -1], own[..., N // 2]
        bridge = (second - first) / torch.where(span.abs() > 0.3, span, 1)
        fits = (how == BRIDGE) & (span.abs() > 0.3) & (bridge.abs() > 0.3) & (bridge.abs() < 2.5)
        origin = torch.where(how == CHAIN, paths[:, :, s - 1, -1] + joints[:, :, s, 0], first)
        origin = torch.where((how == CROSS) | (how == BESIDE), first - middle, origin)
        origin = origin + torch.where(how == BESIDE, aside[:, s, None], 0)
        paths[:, :, s] = own * torch.where(fits, bridge, 1)[..., None] + origin[..., None]


def ink(points: Tensor, present: Tensor, radius: Tensor, size: int = 28) -> Tensor:
    """Draws with a round pen: a pixel's ink falls from 1 to 0 within one pixel around the distance `radius`.

    points complex [B, S, N] in pixels (0 is the centre of the first pixel), present bool [B, S]: which strokes exist,
    radius [B] in pixels, at most 1. Returns uint8 [B, size, size], 255 = full ink.
    """
    image, stroke = present.nonzero(as_tuple=True)
    path = points[image, stroke]  # [strokes, N]
    column, row = path.real.round(), path.imag.round()
    margin = 2  # strokes that leave the canvas land here and are cut off
    width = size + 2 * margin
    canvas = torch.zeros(len(points) * width * width, device=points.device)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            x, y = column + dx, row + dy
            cover = (radius[image, None] + 0.5 - torch.hypot(x - path.real, y - path.imag)).clamp(0, 1)
            at = (y + margin).clamp(0, width - 1) * width + (x + margin).clamp(0, width - 1)
            at = image[:, None] * (width * width) + at.long()
            canvas.scatter_reduce_(0, at.flatten(), cover.flatten(), "amax")
    canvas = canvas.view(len(points), width, width)[:, margin:-margin, margin:-margin]
    return (canvas * 255).round().to(torch.uint8)
