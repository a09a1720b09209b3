"""Pads give glyphs like the data set's, the arena answers by the tags, training runs beside the widgets."""

import math

import pytest

pytest.importorskip("anywidget")

import torch
from torch import nn

import kshot
from kshot import see
from kshot.data import Characters
from kshot.see.arena import LABELS
from kshot.see.pad import glyph_of

RING = [[0.3 + 0.2 * math.cos(t / 10), 0.4 + 0.25 * math.sin(t / 10)] for t in range(63)]
DRAWING = [RING, [[0.1, 0.1], [0.5, 0.8]]]


def moved(strokes, scale, dx, dy):
    return [[[scale * x + dx, scale * y + dy] for x, y in stroke] for stroke in strokes]


def box(glyph):
    rows, columns = (glyph > 0.25).any(1).nonzero(), (glyph > 0.25).any(0).nonzero()
    return rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()


def characters() -> Characters:
    images, alphabet = torch.zeros(8, 4, 1, 28, 28, dtype=torch.uint8), torch.arange(8)
    for i in range(8):
        for j in range(4):
            images[i, j, 0, 3 * i : 3 * i + 5, j : j + 20] = 255
    return Characters(images, alphabet, tuple("abcdefgh"), (0,), "made for a test")


def draw(arena, pad, strokes):
    drawn = list(arena._pads.drawn)
    drawn[pad] = strokes
    arena._pads.set_state({"drawn": drawn})


@pytest.mark.parametrize(("scale", "dx", "dy"), [(1, 0.2, -0.05), (0.4, 0.5, 0.5), (1.5, -0.1, -0.1)])
def test_where_and_how_large_it_is_drawn_makes_no_difference(scale, dx, dy):
    assert torch.allclose(glyph_of(DRAWING), glyph_of(moved(DRAWING, scale, dx, dy)), atol=0.02)


def test_a_glyph_lies_where_the_data_set_puts_its_own():
    top, bottom, left, right = box(glyph_of(DRAWING))
    assert max(bottom - top, right - left) + 1 == 19
    assert abs((top + bottom) / 2 - 13) <= 0.5 and abs((left + right) / 2 - 13) <= 0.5


def test_a_straight_stroke_holds_the_ink_of_the_pen():
    line = glyph_of([[[0.5, 0.1], [0.5, 0.9]]])
    assert torch.allclose(line[8:19].sum(1), torch.full((11,), 1.3), atol=0.02)
    assert line.max() == 1


def test_a_turned_drawing_gives_a_turned_glyph():
    across = glyph_of(DRAWING)
    transposed = glyph_of([[[y, x] for x, y in stroke] for stroke in DRAWING])
    assert torch.allclose(across.T, transposed, atol=1e-5)


def test_no_ink_is_an_empty_glyph_and_a_dot_stays_a_dot():
    assert glyph_of([]).sum() == 0
    assert 0.5 < glyph_of([[[0.2, 0.9]]]).sum() < 3


def test_a_pad_shows_its_glyph_until_something_is_drawn():
    given = torch.zeros(28, 28, dtype=torch.uint8)
    given[5:9, 5:9] = 255
    pad, heard = see.Pad(given), []
    pad.on_draw(heard.append)
    assert pad.glyph.sum() == 16
    pad.set_state({"drawn": {"strokes": DRAWING}})
    assert torch.equal(pad.glyph, glyph_of(DRAWING)) and torch.equal(heard[-1], pad.glyph)
    pad.set_state({"drawn": {"strokes": []}})
    assert pad.glyph.sum() == 0
    pad.set_state({"drawn": {"strokes": None}})
    assert pad.glyph.sum() == 16
    data, _ = pad._repr_mimebundle_()
    assert data["image/png"] and 'alt="A drawing pad, with a character' in data["text/html"]


def test_a_pad_refuses_what_is_no_glyph():
    with pytest.raises(ValueError, match=r"\[28, 28\], got \[3, 28\]"):
        see.Pad(torch.zeros(3, 28))


def test_swapping_two_tags_swaps_the_answer():
    arena = see.arena(kshot.PixelNeighbour(), characters=characters(), seed=3)
    p = arena.state()["answers"][0]["p"]
    answer = int(p.argmax())
    other = (answer + 2) % 5
    arena.swap(answer, other)
    swapped = arena.state()["answers"][0]["p"]
    assert int(swapped.argmax()) == other and torch.allclose(swapped[other], p[answer])
    assert f"says {LABELS[other]}" in arena._plane.note
    assert arena._pads.nearest == answer  # the drawing that is nearest did not move, its label did


def test_drawing_on_the_query_pad_changes_the_answer():
    arena = see.arena(kshot.PixelNeighbour(), characters=characters())
    draw(arena, 1, DRAWING)
    before = arena._plane.frame
    draw(arena, 5, moved(DRAWING, 0.5, 0.3, 0.3))
    assert torch.allclose(arena.glyphs[1], arena.glyphs[5], atol=0.02)
    assert int(arena.state()["answers"][0]["p"].argmax()) == 1 and arena._pads.nearest == 1
    assert arena._plane.frame != before


def test_an_empty_query_is_asked_for():
    arena = see.arena(kshot.PixelNeighbour(), characters=characters())
    draw(arena, 5, [])
    assert "draw on it" in arena._plane.note and arena._pads.nearest == -1


def test_surprise_refills_and_puts_the_tags_back():
    arena = see.arena(kshot.PixelNeighbour(), characters=characters(), seed=1)
    before = arena.glyphs
    arena.swap(0, 1)
    draw(arena, 5, DRAWING)
    arena._pads.set_state({"surprises": 1})
    assert arena._pads.tags == [0, 1, 2, 3, 4] and arena._pads.drawn == [None] * 6
    assert not torch.equal(arena.glyphs, before)
    again = see.arena(kshot.PixelNeighbour(), characters=characters(), seed=1)
    assert torch.equal(again.glyphs, before)


def test_the_map_stands_still_while_the_query_changes():
    glyphs = characters().images[:5, 0, 0].float() / 255
    first, near = see.embedding_map(kshot.PixelNeighbour(), glyphs, glyphs[2])
    second, _ = see.embedding_map(kshot.PixelNeighbour(), glyphs, torch.zeros(28, 28))
    assert near == 2 and torch.allclose(first[2], first[5], atol=1e-4)
    assert torch.equal(first[:5], second[:5])
    z = glyphs.flatten(1) - glyphs.flatten(1).mean(0)
    best = torch.linalg.eigvalsh(z @ z.T)[-2:].sum()
    assert torch.allclose(first[:5].square().sum(), best, rtol=1e-4)  # no plane keeps more of the support's spread


def test_a_learner_without_embedding_and_one_that_fails_are_told():
    def uniform(support_x, support_y, query_x):
        return torch.zeros(1, 1, 5)

    arena = see.arena(uniform, kshot.PixelNeighbour(), names=["guess", "pixels"], characters=characters())
    assert arena.state()["answers"][0]["map"] is None and "guess says A, 20 %" in arena._plane.note
    arena.learners[0] = lambda *_: 1 / 0
    arena.swap(0, 1)
    assert "ZeroDivisionError" in arena._plane.error


def test_the_saved_arena_has_a_picture_and_words():
    bundle = see.arena(kshot.PixelNeighbour(), characters=characters())._repr_mimebundle_()
    assert "labelled A, B, C, D, E" in bundle["text/html"] and bundle["image/png"]


def test_the_saved_arena_can_show_the_moment_after_a_swap():
    arena = see.arena(kshot.PixelNeighbour(), characters=characters(), seed=3, saved_swap=(0, 2))
    p = arena.state()["answers"][0]["p"]
    said = LABELS[int(p.argmax())]
    words = arena._repr_mimebundle_()["text/plain"]
    assert "labelled C, B, A, D, E" in words and "A and C have changed places" in words
    assert f"before, PixelNeighbour says {said}" in words
    now = {"A": "C", "C": "A"}.get(said, said)
    assert f"Now, PixelNeighbour says {now}" in words
    assert arena.labels.tolist() == [0, 1, 2, 3, 4]  # the live one waits for the reader's own drag


def test_an_arena_asks_the_function_it_is_given():
    def always_b(learner, glyphs, labels, query):
        assert not torch.is_grad_enabled() and glyphs.shape == (5, 28, 28) and query.shape == (28, 28)
        return torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])

    arena = see.arena(kshot.PixelNeighbour(), names=["b"], characters=characters(), answer=always_b)
    assert "b says B, 100 %" in arena._plane.note


def test_an_arena_without_learners_or_with_wrong_names_is_refused():
    with pytest.raises(ValueError, match="at least one learner"):
        see.arena()
    with pytest.raises(ValueError, match="2 names for 1 learners"):
        see.arena(kshot.PixelNeighbour(), names=["a", "b"], characters=characters())


class Shift(nn.Module):
    """The smallest learner that trains: one number that should reach 3."""

    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(torch.zeros(()))

    def losses(self, episodes):
        return (self.at - 3).square().expand(1)


class Nothing:
    def __repr__(self):
        return "Nothing()"

    def sample(self, tasks, generator):
        return self

    def to(self, *where):
        return self


def test_training_in_a_thread_gives_the_numbers_of_fit():
    live, plain = Shift(), Shift()
    run = see.live_fit(live, Nothing(), steps=30, learning_rate=0.1)
    still = run.join()
    expected = kshot.fit(plain, Nothing(), steps=30, learning_rate=0.1, progress=False)
    assert run.history.losses == expected.losses and live.at == plain.at
    assert "Trained: 30 steps" in still.alt and run._button.disabled


def test_stop_ends_the_training_early():
    class Stopping(Shift):
        def losses(self, episodes):
            if len(run.losses) == 4:
                run.stop()
            return super().losses(episodes)

    run = None
    learner = Stopping()
    import threading

    ready = threading.Event()

    class Waiting(Nothing):
        def sample(self, tasks, generator):
            assert ready.wait(20)
            return self

    run = see.live_fit(learner, Waiting(), steps=10_000)
    ready.set()
    run.join()
    assert len(run.losses) == 5 and "Stopped: 5 steps" in run._plane.alt


def test_an_error_in_training_is_shown_and_raised_by_join():
    class Broken(Shift):
        def losses(self, episodes):
            raise ValueError("no such class")

    run = see.live_fit(Broken(), Nothing(), steps=3)
    with pytest.raises(ValueError, match="no such class"):
        run.join()
    assert "ValueError: no such class" in run._plane.error
