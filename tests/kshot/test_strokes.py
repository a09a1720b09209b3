"""Strokes against geometry: lines, circles, corners, joints, and the pen against its definition."""

import math

import torch

from kshot.strokes import BESIDE, BRIDGE, CHAIN, CROSS, KINDS, PIECES, TOUCH, ink, place, trace, vocabulary

STILL = torch.zeros(201)


def path(heading=0.0, corners=(0.0,), lengths=(1.0,), bends=(0.0,), rounding=0.01, wobble=STILL):
    """One stroke, complex [201]."""
    return trace(*(torch.tensor(x) for x in (heading, corners, lengths, bends, rounding)), wobble)


def test_a_bar_goes_straight_in_its_heading():
    bar = path(heading=math.pi / 2, lengths=(3.0,))
    assert bar[0] == 0
    assert torch.allclose(bar, torch.linspace(0, 3, 201) * 1j, atol=1e-4)


def test_a_full_bend_is_a_circle_that_closes():
    circle = path(lengths=(2 * math.pi,), bends=(2 * math.pi,))
    assert circle[-1].abs() < 0.05
    assert torch.allclose((circle - 1j).abs(), torch.ones(201), atol=0.03)


def test_a_corner_turns_between_its_pieces():
    corner = path(corners=(0.0, math.pi / 2), lengths=(2.0, 1.0), bends=(0.0, 0.0))
    assert (corner[-1] - (2 + 1j)).abs() < 0.03


def test_rounding_cuts_the_corner():
    sharp, soft = (path(0.0, (0.0, math.pi / 2), (1.0, 1.0), (0.0, 0.0), rounding) for rounding in (0.01, 0.6))
    assert (soft - 1).abs().min() > (sharp - 1).abs().min() + 0.05


def test_empty_pieces_change_nothing():
    plain = path(0.3, (0.0,), (1.0,), (1.0,))
    padded = path(0.3, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    assert torch.allclose(plain, padded, atol=1e-5)


def test_a_path_keeps_its_length_whatever_the_wobble():
    wobble = torch.randn(201, generator=torch.Generator().manual_seed(0))
    wavy = path(lengths=(2.0,), wobble=wobble)
    assert abs(float(wavy.diff().abs().sum()) - 2) < 1e-4


def placed(relation, own, aside=0j, joints=0j, at=(0.5, 1.0)):
    """A bar from 0 to 4, and `own` placed on it: the second stroke after placing, complex [5]."""
    paths = torch.stack([torch.linspace(0, 4, 5) + 0j, own])[None, None]  # [1, 1, 2, 5]
    place(
        paths,
        torch.tensor([[0, relation]]),
        torch.zeros(1, 2, 2, dtype=torch.long),
        torch.tensor([[[0.0, 0.0], at]]),
        torch.full((1, 2), aside),
        torch.full((1, 1, 2, 2), joints),
    )
    return paths[0, 0, 1]


def test_each_relation_puts_the_stroke_where_it_says():
    own = torch.linspace(0, 2, 5) * 1j
    assert torch.allclose(placed(CHAIN, own), own + 4)
    assert torch.allclose(placed(TOUCH, own), own + 2)
    assert torch.allclose(placed(CROSS, own)[2], torch.tensor(2 + 0j))
    assert torch.allclose(placed(BESIDE, own, aside=0.5j)[2], torch.tensor(2 + 0.5j))
    bridge = placed(BRIDGE, own)  # turned from downwards to rightwards, from 2 to 4
    assert torch.allclose(bridge[[0, -1]], torch.tensor([2 + 0j, 4 + 0j]), atol=1e-5)


def test_a_bridge_that_would_deform_the_stroke_touches_instead():
    closed = torch.tensor([0, 1, 1 + 1j, 1j, 0])
    assert torch.allclose(placed(BRIDGE, closed), closed + 2)


def test_joints_miss_by_as_much_as_told():
    own = torch.linspace(0, 2, 5) * 1j
    assert torch.allclose(placed(TOUCH, own, joints=0.25 - 0.5j), own + 2 + (0.25 - 0.5j))


def test_ink_is_the_distance_to_the_nearest_point_of_the_path():
    generator = torch.Generator().manual_seed(0)
    points = torch.complex(*(2 + 24 * torch.rand(2, 3, 2, 40, generator=generator)).unbind(0))  # [3, 2, 40]
    present = torch.tensor([[True, True], [True, False], [False, False]])
    radius = torch.tensor([0.5, 0.4, 0.5])
    drawn = ink(points, present, radius).double() / 255
    for image in range(3):
        for row in range(28):
            for column in range(28):
                here = points[image][present[image]].flatten()
                distance = float((here - complex(column, row)).abs().min()) if len(here) else math.inf
                expected = min(max(float(radius[image]) + 0.5 - distance, 0), 1)
                assert abs(float(drawn[image, row, column]) - expected) < 0.003


def test_ink_off_the_canvas_is_cut_not_wrapped():
    points = torch.complex(torch.linspace(-20, 60, 200), torch.full((200,), 30.0))[None, None]  # below the last row
    assert ink(points, torch.ones(1, 1, dtype=torch.bool), torch.tensor([0.8])).sum() == 0


def test_upright_shapes_stand_upright():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.full((200,), KINDS.index("corner"))
    heading, corners, lengths, bends = vocabulary(kinds, torch.ones(200, dtype=torch.bool), generator)
    assert corners.shape == lengths.shape == bends.shape == (200, PIECES)
    ends = trace(heading, corners, lengths, bends, torch.full((200,), 0.1), torch.zeros(200, 32))[:, -1]
    quarter = math.pi / 2

    def off(angle):
        return (angle / quarter - (angle / quarter).round()).abs() * quarter

    by_sides = (off(heading) < 0.01) & (off(corners[:, 1]) < 0.01)
    by_ends = off(ends.angle()) < 0.05
    assert (by_sides | by_ends).all()
    assert by_sides.sum() > 50 and by_ends.sum() > 50
