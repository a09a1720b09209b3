"""Lecture 03: its readers equal the package's, its widgets are pure, and its prose tells what its cells print."""

import json
import math
import re
import statistics
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import kshot
from kshot.learners.attention import SNAIL
from kshot.learners.memory import MANN

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lecture(source) -> dict:
    """The lecture's own functions, run as they stand, with the shipped learners and without its data and trainings."""
    names: dict = {"weights": [torch.zeros(100, i, o) for i, o in ((2, 64), (65, 64), (65, 1))]}
    for beginning in (
        "import time",
        "def seeded",
        "def networks",
        "box = ",
        "def checksum",
        "BEFORE = ",
        "def process",
    ):
        exec(source.cell(beginning), names)
    for beginning in ("GRID = ", "def context", "def report", "def trick", "def bent", "def bill", "def outputs"):
        exec(source.cell(beginning), names)
    exec(source.definition("def size"), names)
    names["lstm"] = kshot.pretrained("curves_lstm")
    for beginning in ("FIVE = ", "def in_order", "def sequence", "def drift", "def reading", "def episode_tensor"):
        exec(source.cell(beginning), names)
    for beginning in (
        "def noise_episodes",
        "def read(",
        "def write(",
        "def attend(",
        "from kshot.learners.classical import Av",
    ):
        exec(source.cell(beginning), names)
    for beginning in ("def believed", "dealt = ", "def prompt", "def gap", "def numbers", "def in_per_cent"):
        exec(source.cell(beginning), names)
    return names


def test_the_widgets_pictures_depend_on_their_state_alone(lecture, assert_pure):
    points, letters = lecture["POINTS"], lecture["LETTERS"]
    assert_pure(lecture["trick"], [{"point": p, "pairs": k} for p in (points, -points) for k in (0, 5, 8)])
    assert_pure(lecture["outputs"], [{"channels": channels} for channels in (8, 64)])
    assert_pure(lecture["reading"], [{"letter": order} for order in (letters, letters[::-1])])
    states = [
        {"pairs": k, "task": t, "order": "as dealt", "prompt": prompt}
        for k in (2, 6)
        for t in (0, 2)
        for prompt in ("as dealt", "near copies")
    ]
    assert_pure(lecture["numbers"], states)


def test_the_first_widget_is_saved_bent_and_sealed(lecture, source):
    saved = eval(re.search(r"saved=(\{.*\}),", source.cell("see.Explorer(\n    trick"))[1], lecture)
    state = {"point": lecture["POINTS"], "pairs": 5}
    assert lecture["bent"](state) == 0
    assert lecture["bent"](state | saved) >= 1
    assert lecture["report"](state | saved).endswith("unchanged")


def test_the_checksum_sees_one_bit_of_one_weight(lecture):
    net = torch.nn.Linear(3, 2)
    before = lecture["checksum"](net)
    with torch.no_grad():
        net.bias.view(torch.int32)[1] ^= 1
    assert lecture["checksum"](net) != before


def test_the_five_lines_are_the_box(lecture, generator):
    x, y = torch.randn(2, 6, generator=generator)
    grid = torch.linspace(-2, 2, 20)
    mean, spread = lecture["process"](x, y, grid)
    expected = lecture["box"].distribution(x[None, :, None], y[None, :, None], grid[None, :, None])
    torch.testing.assert_close(mean, expected.mean[0, :, 0].detach())
    torch.testing.assert_close(spread, expected.stddev[0, :, 0].detach())


def test_only_the_lstm_is_moved_by_the_order(lecture):
    process, lstm = lecture["drift"]({"letter": lecture["LETTERS"][::-1]})
    assert process == 0
    assert lstm > 0.5


@torch.no_grad()
def test_reading_and_writing_are_manns(lecture, generator):
    learner = MANN(inputs=4, ways=3, slots=6, width=5, hidden=8)
    memory, pairs = learner.start(torch.zeros(1, 1, 4)), torch.randn(9, 1, 7, generator=generator)
    for pair in pairs:
        now = learner.control(memory, pair)
        reads, found = lecture["read"](
            memory.slots[0], learner.key(now.hidden)[0], F.softplus(learner.strength(now.hidden))[0]
        )
        torch.testing.assert_close(reads, now.reads[0, 0])
        torch.testing.assert_close(found, now.found[0])
        slots, writes = lecture["write"](
            memory.slots[0],
            learner.value(now.hidden)[0],
            learner.gate(now.hidden)[0].sigmoid(),
            memory.reads[0, 0],
            memory.usage[0],
        )
        usage = learner.decay * memory.usage[0] + reads + writes  # as the lecture's formula has it
        memory = learner.take(memory, pair)
        torch.testing.assert_close(slots, memory.slots[0])
        torch.testing.assert_close(usage, memory.usage[0])


@torch.no_grad()
def test_attending_is_snails_first_block(lecture, generator):
    block = SNAIL(inputs=4, ways=3).blocks[0]
    rows = torch.randn(6, 7, generator=generator)
    a, found = lecture["attend"](block.query(rows[5]), block.key(rows), block.value(rows))
    torch.testing.assert_close(a, block.weights(rows[None, :5], rows[None, 5:])[0, 0])
    torch.testing.assert_close(torch.cat([rows[5], found]), block.last(rows[None, :5], rows[None, 5:])[0, 0])


def test_a_query_shows_no_label_and_noise_has_chance_alone(lecture, generator):
    z_support, z, y = (
        torch.randn(6, 4, generator=generator),
        torch.randn(2, 4, generator=generator),
        torch.arange(6) % 3,
    )
    rows = lecture["episode_tensor"](z_support, y, z, 3)
    assert (rows[:6, 4:].argmax(1) == y).all()
    assert rows[6:, 4:].abs().sum() == 0
    rows, query = lecture["noise_episodes"](50, generator)
    assert rows[:, 5:, 8:].abs().sum() == 0
    kept, label = lecture["noise_episodes"](50, generator, label_kept=True)
    assert (kept[:, 5:, 8:].argmax(-1) == label).all()
    assert len(query.unique(dim=0)) > 20


def test_near_copies_keep_what_least_squares_needs(lecture):
    state = {"pairs": 6, "task": 2, "order": "as dealt", "prompt": "near copies"}
    least = lecture["believed"](lecture["LeastSquares"](), *lecture["prompt"](state))
    torch.testing.assert_close(least, lecture["hidden"][2], rtol=1e-3, atol=1e-3)
    assert lecture["gap"](state) > 3 * lecture["gap"](state | {"prompt": "as dealt"})


def test_shares_of_the_error_are_paired(lecture, generator):
    nine = torch.rand(200, generator=generator) + 0.1
    rows = [kshot.Result(values, percent=False) for values in (nine, nine, nine, 0.5 * nine)]
    same, half = lecture["in_per_cent"](rows)
    assert (round(same.mean, 3), round(half.mean, 3)) == (100, 50)
    assert max(same.interval, half.interval) < 1e-4  # every curve's error halves: nothing is left to chance
    unpaired = kshot.Result(0.5 * nine[torch.randperm(200, generator=generator)], percent=False)
    assert lecture["in_per_cent"]([*rows[:3], unpaired])[1].interval > 3


def test_each_order_of_the_pairs_is_measured_once(source):
    assert "permutations(chosen[0].tolist())" in source.cell("from itertools import permutations")
    orders = math.factorial(kshot.pretrained("in_context_linear").inputs)
    assert f"all of its {orders} orders" in source.text


def test_the_figures_quoted_from_the_benchmarks_are_theirs(source):
    text = source.prose
    linear, curves = (
        json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text()) for name in ("in_context", "curves")
    )
    at_d = linear["variants"]["in distribution"]["Transformer"][5]
    assert f"At $d$ pairs the mean is {at_d['mean']:.3f} ± {at_d['interval']:.3f}" in text
    seconds = {name: round(statistics.median(values)) for name, values in curves["cpu_seconds"].items()}
    assert f"{seconds['Neural process']} and" in text
    assert abs(seconds["LSTM"] - 69) <= 1
    rows = [row["mse"]["by_seed"] for kind in seconds for row in curves["rows"][kind] if row["points"] in (3, 9, 20)]
    (apart,) = re.findall(r"the trainings, which differ by at most ([\d.]+)\.", text)
    assert max(max(seeds) - min(seeds) for seeds in rows) == pytest.approx(float(apart), abs=0.005)


def prints() -> str:
    """All that the built lecture prints."""
    notebook = json.loads((ROOT / "lectures" / "03_black_box.ipynb").read_text(encoding="utf-8"))
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", [])]
    return "".join("".join(out.get("text", "")) for out in outputs)


def test_the_figures_of_the_prose_are_printed(source):
    text, said = source.prose, prints()
    best, worst = re.search(r"moves the distance from ([\d.]+) to ([\d.]+)", text).groups()
    assert re.search(rf"choices of pairs: best {best}, median [\d.]+, worst {worst};", said)
    best, worst = re.search(r"one choice moves it from ([\d.]+) to ([\d.]+)\.", text).groups()
    assert re.search(rf"orders of one choice: best {best}, median [\d.]+, worst {worst};", said)
    below, beyond = re.search(r"far too wide below \$x = 2\$ \(([\d.]+) % outside\).*beyond \((\d+) %", text).groups()
    parts = re.search(r"moved by 2, outside its band: ([\d.]+) ± \S+ % where x is below 2, ([\d.]+) ±", said).groups()
    assert (float(below), float(beyond)) == pytest.approx([float(part) for part in parts], abs=0.5)
    five, one = re.search(
        r"it has ([\d.]+) after five pairs, not far below what the first one gives \(([\d.]+)\)", text
    ).groups()
    for pairs, figure in (("1", one), ("5", five)):
        (printed,) = re.findall(rf"near copies, +K = +{pairs}: squared error / d of transformer ([\d.]+)", said)
        assert float(printed) == pytest.approx(float(figure), abs=0.006)


def test_noise_has_chance_without_the_queries_labels_and_company_matters_under_the_other_softmax(generator, source):
    names = {"torch": torch, "kshot": kshot, "one_hot": F.one_hot, "seeded": torch.Generator().manual_seed}
    written = source.definition("def my_answers")
    noise, query_y = torch.randn(2, 300, 5, 32, generator=generator), torch.rand(300, 5, generator=generator).argsort(1)

    def tried(*changes):
        """Accuracy on noise, and how far the first query's answer moves when the others are taken away."""
        code = written
        for old, new in changes:
            assert old in code
            code = code.replace(old, new)
        exec(code, names)
        answers, hits = names["my_answers"], []
        for s, q, y in zip(*noise, query_y):
            hits.append((answers(s, torch.arange(5), q, y, 5).argmax(-1) == y).float().mean())
        alone, together = (answers(s, torch.arange(5), q[:n], y[:n], 5)[0] for n in (1, 5))
        return float(torch.stack(hits).mean()), float((alone - together).abs().max())

    keys = ("torch.cat([z_support, z])", "z_support"), ("torch.cat([y, query_y])", "y")
    own = (".softmax(0)", ".softmax(1)")
    leaking, no_leak, mended = tried(), tried(*keys), tried(*keys, own)
    assert leaking[0] == 1 and leaking[1] > 0.1
    assert abs(no_leak[0] - 0.2) < 0.05 and no_leak[1] > 0.1  # the softmax over the queries leaks no label
    assert abs(mended[0] - 0.2) < 0.05 and mended[1] < 1e-5
