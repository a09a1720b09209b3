"""Pictures are pure, carry alt text into saved notebooks, and explorers keep their state."""

import base64
import io
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("anywidget")

import torch
from PIL import Image

from kshot import see
from kshot.see.arena_picture import HALF, ArenaPicture, beside
from kshot.see.live import LossCurve
from kshot.see.picture import encode, figure
from kshot.see.sheets import accuracies_on

X = np.linspace(0, 6, 50)


def assert_pure(picture, states) -> None:
    """`update(a); update(b)` gives the very pixels of a fresh `b`, for each pair of neighbouring states."""
    used = see.Canvas(picture)
    for state in [*states, *reversed(states)]:
        drawn, fresh = used.pixels(state), see.Canvas(picture).pixels(state)
        differing = int((drawn != fresh).any(-1).sum())
        assert differing == 0, f"{differing} pixels depend on the states before {state}"
    assert len({used.pixels(state).tobytes() for state in states}) == len(states), "states that look the same"


@see.picture(figsize=(4, 2.5))
def wave(ax):
    (line,) = ax.plot(X, X, label="sine")
    (other,) = ax.plot(X, X, label="cosine")
    ax.set(xlabel="x", ylabel="y", xlim=(0, 6), ylim=(-2, 2))
    place = see.end_labels(ax)

    def update(state):
        if state["peak"][1] < 0:
            raise ValueError("the peak lies below zero")
        line.set_ydata(state["peak"][1] * np.sin(state.get("rate", 1.0) * X))
        other.set_ydata(state["peak"][1] * np.cos(state.get("rate", 1.0) * X))
        ax.set_title(f"Amplitude {state['peak'][1]:.2f}")
        place()

    return update


def explorer(**options):
    options = {"points": {"peak": (1.5, 1.0)}, "rate": (0.5, 4.0, 0.5, 1.0), **options}
    return see.Explorer(wave, alt=lambda s: f"A wave of amplitude {s['peak'][1]:g}", **options)


def drag(widget, x, y, serial=1, handle=0):
    widget._plane.set_state({"asked": {"moves": {str(handle): [x, y]}, "first": 1, "serial": serial}})


def image_of(bundle) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("RGB"))


def test_a_picture_forgets_its_former_states():
    assert_pure(wave, [{"peak": (1, 1.0)}, {"peak": (1, 2.0), "rate": 2.0}, {"peak": (1, 0.01)}])


def test_purity_check_catches_an_artist_left_behind():
    @see.picture
    def trail(ax):
        ax.set(xlim=(0, 1), ylim=(0, 1))
        return lambda state: ax.plot([state["x"]], [0.5], "o")

    with pytest.raises(AssertionError, match="pixels depend"):
        assert_pure(trail, [{"x": 0.2}, {"x": 0.8}])


def test_the_course_pictures_are_pure():
    assert_pure(
        LossCurve(),
        [
            {"losses": [], "steps": 100, "said": "nothing yet"},
            {"losses": [3.0, 1.0, 0.25], "steps": 100, "said": "Step 3"},
            {"losses": list(np.linspace(200, 1, 90)), "steps": 100, "said": "Step 90"},
        ],
    )
    g = torch.Generator().manual_seed(0)
    glyphs, places = torch.rand(6, 28, 28, generator=g), torch.randn(6, 2, generator=g)
    first = {"p": torch.tensor([0.1, 0.6, 0.1, 0.1, 0.1]), "map": places, "nearest": 1}
    second = {"p": torch.tensor([0.7, 0.0, 0.1, 0.1, 0.1]), "map": None, "nearest": -1}
    states = [
        {"glyphs": glyphs, "labels": [0, 1, 2, 3, 4], "answers": [first], "asked": True},
        {"glyphs": 1 - glyphs, "labels": [4, 1, 2, 3, 0], "answers": [second], "asked": True},
        {"glyphs": glyphs, "labels": [0, 1, 2, 3, 4], "answers": [first], "asked": False},
        {
            "glyphs": glyphs,
            "labels": [1, 0, 2, 3, 4],
            "answers": [{**first, "before": second["p"]}],
            "asked": True,
            "swapped": "A and B have changed places",
        },
    ]
    assert_pure(ArenaPicture(["one"], with_glyphs=True), states)


def test_a_title_set_by_update_does_not_move_the_axes():
    canvas = see.Canvas(wave)
    before = canvas.plane()
    canvas.pixels({"peak": (1, 1.0)})
    assert canvas.plane() == before


def test_end_labels_are_kept_apart():
    fig, ax = see.figure((4, 3))
    for i in range(4):
        ax.plot([0, 1], [0, 0.001 * i], label=f"line {i}")
    ax.set(xlim=(0, 1), ylim=(-1, 1))
    see.end_labels(ax)()
    fig.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == 4
    assert all(above.y0 > below.y0 + 0.6 * below.height for below, above in pairwise(boxes))


CHANGES = {
    "limits": lambda ax: ax.set_xlim(0, 300),
    "ticks": lambda ax: ax.set_xticks([1, 4], ["one", "four"]),
    "label": lambda ax: ax.set_ylabel("another"),
    "label colour": lambda ax: ax.xaxis.label.set_color("red"),
    "tick colour": lambda ax: ax.get_xticklabels()[0].set_color("red"),
    "scale": lambda ax: (ax.set_ylim(0.1, 10), ax.set_yscale("log")),
    "hidden": lambda ax: ax.xaxis.set_visible(False),
    "inverted": lambda ax: ax.invert_yaxis(),
    "moved": lambda ax: ax.set_position((0.3, 0.3, 0.5, 0.5)),
    "grid": lambda ax: ax.grid(True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_kept_axes_look_like_drawn_ones_after_every_change(change, monkeypatch):
    def line(ax):
        ax.plot(X, X)
        ax.set(xlabel="x", ylabel="y", xlim=(0, 6), ylim=(0, 6))
        return lambda state: CHANGES[change](ax) if state["change"] else None

    def draw(states):
        canvas = see.Canvas(see.picture(line, figsize=(3, 2)))
        return [canvas.pixels({"change": state}) for state in states]

    kept = draw([False, False, True])
    monkeypatch.setitem(sys.modules["kshot.see.picture"].__dict__, "keep_axes", lambda ax: None)
    drawn = draw([False, False, True])
    assert not np.array_equal(drawn[1], drawn[2])
    assert all(np.abs(a.astype(int) - b).max() <= 2 for a, b in zip(kept, drawn, strict=True))


def test_two_threads_draw_the_same_pictures_as_one():
    states = [{"peak": (1, 0.1 * i)} for i in range(4)]
    expected = [see.Canvas(wave).pixels(state) for state in states]
    drawn = [[None] * len(states) for _ in range(3)]

    def work(k):
        canvas = see.Canvas(wave)
        drawn[k] = [canvas.pixels(state) for state in states]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for mine in drawn for a, b in zip(mine, expected, strict=True))


def test_the_quick_png_holds_the_very_pixels():
    pixels = torch.randint(256, (37, 53, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(pixels)))), pixels)
    canvas = see.Canvas(wave)
    state = {"peak": (1, 1.0)}
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(canvas.png(state)))), canvas.pixels(state))


def test_saved_notebooks_keep_the_picture_with_its_alt_text():
    bundle = explorer()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert 'alt="A wave of amplitude 1"' in bundle["text/html"]
    assert image_of(bundle).shape == (500, 800, 3)
    assert bundle["text/plain"] == "A wave of amplitude 1"


def test_the_saved_picture_can_show_another_state_than_the_live_one():
    widget = explorer(saved={"peak": (1.5, 2.0)})
    assert widget._repr_mimebundle_()["text/plain"] == "A wave of amplitude 2"
    assert widget.state["peak"].tolist() == [1.5, 1.0]
    other = explorer(points={"peak": (1.5, 2.0)})
    assert np.array_equal(image_of(widget._repr_mimebundle_()), image_of(other._repr_mimebundle_()))


def test_a_drag_moves_the_point_redraws_and_answers():
    widget = explorer()
    before = widget._plane.frame
    drag(widget, 2.0, 0.5, serial=7)
    assert widget.state["peak"].tolist() == [2.0, 0.5]
    assert widget._plane.frame != before
    assert (widget._plane.answered, widget._plane.alt) == (7, "A wave of amplitude 0.5")
    assert widget._plane.handles[0]["x"] == 2.0


def test_sets_of_points_have_a_handle_each():
    @see.picture
    def cloud(ax):
        (dots,) = ax.plot([], [], "o")
        ax.set(xlim=(0, 5), ylim=(0, 5))
        return lambda state: dots.set_data(*state["support"].T)

    widget = see.Explorer(cloud, alt="points", points={"support": [[1, 1], [2, 2], [3, 3]]}, along={"support": "x"})
    assert [handle["name"] for handle in widget._plane.handles] == ["support 1", "support 2", "support 3"]
    assert {handle["along"] for handle in widget._plane.handles} == {"x"}
    drag(widget, 4.0, 2.0, handle=1)
    assert widget.state["support"].tolist() == [[1, 1], [4, 2], [3, 3]]


def test_an_error_is_shown_in_the_widget_and_goes_away_again():
    widget = explorer()
    before = widget._plane.frame
    drag(widget, 1.0, -1.0, serial=1)
    assert "ValueError: the peak lies below zero" in widget._plane.error
    assert (widget._plane.answered, widget._plane.frame) == (1, before)
    drag(widget, 1.0, 1.5, serial=2)
    assert widget._plane.error == ""


def test_an_error_in_the_first_state_stops_the_cell():
    with pytest.raises(ValueError, match="below zero"):
        explorer(points={"peak": (0, -1)})


def test_a_challenge_counts_moves_until_it_is_met():
    widget = explorer(challenge=("Make it small.", lambda state: state["peak"][1] < 0.1))
    assert widget._plane.challenge == "Make it small."
    drag(widget, 1.0, 0.5, serial=1)
    assert widget._plane.note == ""
    drag(widget, 1.0, 0.05, serial=2)
    assert widget._plane.note == "Done, in 2 moves."


def test_controls_follow_their_values():
    widget = explorer(n=(1, 9, 2), mode=["a", "b"], many=dict(zip("abcde", range(5), strict=True)), grid=True)
    kinds = [type(control).__name__ for control in widget.children[0].children]
    assert kinds == ["FloatSlider", "IntSlider", "ToggleButtons", "Dropdown", "Checkbox"]
    state = {**widget.state, "peak": None}
    assert state == {"rate": 1.0, "n": 1, "mode": "a", "many": 0, "grid": True, "peak": None}
    widget.set(n=5, peak=(0, 0.25))
    assert widget.state["n"] == 5 and widget._plane.alt == "A wave of amplitude 0.25"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rate": "fast"}, "is no control"),
        ({"points": {"peak": (1, 2, 3)}}, "give one point"),
        ({"along": {"peek": "x"}}, "neither a point"),
        ({"saved": {"nothing": 1}}, "but the state has"),
        ({"points": {"rate": (0, 0)}}, "both points and controls"),
    ],
)
def test_wrong_use_is_told(options, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        explorer(**options)


def test_a_still_needs_alt_text_and_keeps_it():
    fig, ax = see.figure((3, 2))
    ax.plot(X, X)
    with pytest.raises(ValueError, match="alt text"):
        see.Still(fig, alt=" ")
    bundle = see.Still(fig, alt='rising "line" <1>')._repr_mimebundle_()
    assert 'alt="rising &quot;line&quot; &lt;1&gt;"' in bundle["text/html"]
    assert image_of(bundle).shape == (400, 600, 3)


def test_a_sheet_shows_the_ink_it_was_given():
    images = torch.zeros(2, 3, 28, 28, dtype=torch.uint8)
    empty = image_of(see.glyphs(images, title="t")._repr_mimebundle_())
    images[1, 2] = 255
    one = image_of(see.glyphs(images, title="t")._repr_mimebundle_())
    changed = np.argwhere((empty != one).any(-1))
    height, width = empty.shape[:2]
    assert len(changed) > 1000 and changed[:, 0].min() > height / 2 and changed[:, 1].min() > 0.6 * width


def test_accuracies_take_results_and_percentages_alike():
    class Result:
        mean, interval = 0.981, 0.002

    ours = see.accuracies({"a": Result(), "b": (43.2, 0.8)}, title="t", chance=20)
    assert "a 98.1 ± 0.2 %" in ours.alt and "b 43.2 ± 0.8 %" in ours.alt


@pytest.mark.parametrize("mean", [0.5, 2, 12, 19, 21, 34, 60, 88, 99.8])
def test_no_label_of_an_accuracy_crosses_chance_or_the_edge(mean):
    fig, ax = figure((7, 1.8))
    accuracies_on(ax, {"a rather long name": (mean, 1.7)}, chance=20)
    fig.canvas.draw()
    words, chance = ax.texts[0].get_window_extent(), ax.transData.transform((20, 0))[0]
    if mean < 17 and mean + 20 > 20:
        assert words.x0 > ax.transData.transform((mean + 1.7, 0))[0]  # no room on either side: the outline cuts chance
    else:
        assert not words.x0 < chance < words.x1
    assert ax.bbox.x0 <= words.x0 and words.x1 <= fig.bbox.x1


def test_one_accuracy_can_be_highlighted():
    _, ax = figure((7, 2))
    accuracies_on(ax, {"a": (20, 2), "b": (90, 2), "c": (50, 2)}, highlight="b")
    a, b, c = (container.lines[0].get_color() for container in ax.containers)
    assert a == c != b == see.BLUE


def test_the_query_covers_no_support_drawing_on_the_map():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        others = (2 * torch.rand(5, 2, generator=generator) - 1).numpy()
        place = others[0] + 0.1 * torch.randn(2, generator=generator).numpy()
        stand = beside(place, others, others[0])
        assert np.abs(stand - others).max(1).min() >= 2 * HALF and np.abs(stand).max() <= 1.05
    alone = np.array([[-1.0, -1], [1, 1], [-1, 1], [1, -1], [0, 1]])
    assert (beside(np.array([0.1, 0.0]), alone, alone[4]) == [0.1, 0.0]).all()
