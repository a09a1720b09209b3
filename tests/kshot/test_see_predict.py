"""The reader commits before the reveal, and cannot take it back afterwards."""

import uuid

import numpy as np
import pytest
import torch

pytest.importorskip("anywidget")

import kshot
from kshot.see import figure
from kshot.see.predict import predict
from kshot.see.results import draw_result
from kshot.see.reveal import card_lines


def ask(kind="number", **options):
    return predict("How many?", kind, key=uuid.uuid4().hex, **options)


def test_a_number_is_committed_and_locked_by_the_reveal():
    guess = ask(unit="%")
    assert guess.value is None
    guess._entry.value = "95 %"
    assert not guess._commit.disabled
    guess._commit.click()
    assert guess.value == 95.0
    shown = guess.reveal(60.2)
    assert guess.locked and guess._entry.disabled and guess._commit.disabled
    assert shown.alt.endswith("You said 95 %. It is 60.2 %: you were 34.8 too high.")
    with pytest.raises(RuntimeError, match="locked"):
        guess.commit(60)


def test_words_are_no_number():
    guess = ask()
    guess._entry.value = "many"
    assert guess._commit.disabled


def test_the_result_waits_for_the_commitment():
    guess = ask()
    shown = guess.reveal(3)
    assert not guess.locked and shown._plane not in shown.children
    guess.commit(2)
    assert guess.locked and shown.children == (shown._plane,)
    assert "You said 2. It is 3: you were 1 too low." in shown._plane.alt


def test_without_a_prediction_the_result_can_be_seen_and_says_so():
    guess = ask()
    shown = guess.reveal(3)
    bundle = shown._repr_mimebundle_()
    assert "No prediction made. It is 3." in bundle["text/html"] and bundle["image/png"]
    shown._anyway.click()
    assert guess.locked and guess.value is None


def test_running_the_cell_again_keeps_the_commitment():
    key = uuid.uuid4().hex
    first = predict("How many?", key=key)
    first.commit(4)
    assert predict("How many?", key=key) is first
    assert predict("How few?", key=key) is not first


def test_a_choice_is_one_of_the_choices():
    guess = ask("choice", choices=["pixels", "prototypes"])
    with pytest.raises(ValueError, match="not one of the choices"):
        guess.commit("luck")
    guess.commit("pixels")
    assert guess.reveal({"pixels": 40, "prototypes": 93}).alt.endswith("You said pixels. It is prototypes.")
    assert guess.reveal("pixels").alt.endswith("You said pixels, and so it is.")


def test_a_click_and_a_curve_come_from_the_plane():
    click = ask("click", xlim=(-2, 2), ylim=(0, 4))
    click._entry._plane.set_state({"asked": {"moves": {"0": [1.0, 3.0]}, "serial": 1}})
    click._commit.click()
    assert click.value.tolist() == [1.0, 3.0]

    curve = ask("curve", xlim=(0, 8), ylim=(0, 1), knots=5)
    moves = {str(i): [2.0 * i, 0.1 * i] for i in range(5)}
    curve._entry._plane.set_state({"asked": {"moves": moves, "serial": 1}})
    curve._commit.click()
    assert np.allclose(curve.value, [[2 * i, 0.1 * i] for i in range(5)])
    x = np.linspace(0, 8, 9)
    assert curve.reveal(np.stack([x, 0.05 * x + 0.1], 1)).alt.endswith("off by 0.1 on average, by 0.1 at worst.")
    assert curve._entry._plane.locked


def test_the_mark_is_drawn_beside_the_result_and_only_if_there_is_one():
    def ink(guess):
        _, ax = figure((3, 2))
        guess.draw(ax, along="y")
        assert guess.locked
        return len(ax.lines)

    empty, made = ask(), ask()
    made.commit(0.5)
    assert (ink(empty), ink(made)) == (0, 1)


def test_the_saved_notebook_shows_the_question():
    for guess in (ask(unit="%"), ask("choice", choices=["a", "b"]), ask("click"), ask("curve")):
        bundle = guess._repr_mimebundle_()
        assert "How many?" in bundle["text/html"] and bundle["image/png"]
        assert "no prediction made" in bundle["text/plain"]


def test_a_question_with_markup_stays_text():
    guess = predict("Is 1 < 2 & <b>3</b>?", key=uuid.uuid4().hex)
    assert "&lt;b&gt;" in guess._heading.value
    assert "&lt;b&gt;" in guess.reveal(1).children[0].value


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"kind": "guess"}, "is one of number, choice, click, curve"),
        ({"kind": "choice"}, "choices belong to"),
        ({"kind": "number", "choices": ["a"]}, "choices belong to"),
    ],
)
def test_wrong_use_is_told(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ask(**arguments)
    with pytest.raises(ValueError, match="and not both"):
        ask().reveal()


def test_a_score_with_an_interval_is_revealed_with_it():
    score = kshot.Result(torch.tensor([0.0, 1.0] * 50))
    assert ask(unit="%").reveal(score, chance=20).alt.endswith("No prediction made. It is 50.0 ± 9.8 %.")
    sure = kshot.Result(torch.ones(9))
    guess = ask("choice", choices=["a", "b"], unit="%")
    assert guess.reveal({"a": score, "b": sure}).alt.endswith("It is b.")


def drawn(guess, result, chance=None):
    fig, ax = figure((7, 2))
    draw_result(ax, guess, result, chance)
    fig.canvas.draw()
    return ax, {text.get_text().strip(): text for text in ax.texts}


def test_a_label_at_the_edge_stays_inside_the_picture():
    for value in (0.0, 2.333, 99.0):
        ax, texts = drawn(ask(unit="%"), value)
        (words,) = texts
        assert words == f"result: {round(value, 1):g} %"
        box = texts[words].get_window_extent().transformed(ax.transAxes.inverted())
        assert box.x0 >= 0 and box.x1 <= 1


def test_chance_is_marked_where_it_is():
    ax, texts = drawn(ask(unit="%"), 60, chance=20)
    assert "chance" in texts and any(list(line.get_xdata()) == [20, 20] for line in ax.lines)


def test_a_right_choice_is_the_one_that_is_filled():
    guess = ask("choice", choices=["a", "b", "c"])
    guess.commit("a")
    _, texts = drawn(guess, "b")
    filled = {name: texts[name].get_bbox_patch().get_facecolor() for name in "abc"}
    assert filled["a"] == filled["c"] != filled["b"] and "you" in texts


@pytest.mark.parametrize("words", [4, 12, 13, 20, 40])
def test_a_question_on_the_card_leaves_no_word_alone(words):
    lines = card_lines(" ".join(["which?"] * words))
    assert max(map(len, lines)) <= 78
    assert len(lines) == 1 or len(lines[-1]) > 0.5 * len(lines[0])
