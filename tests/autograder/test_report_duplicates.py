"""Near-duplicates: a renamed copy is found; independent solutions, untouched notebooks and given files are not."""

import io
import json
import random
import re
import zipfile
from itertools import combinations

import pytest
import torch
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st
from safetensors.torch import save

from autograder.grading.batches.results import Folder, record
from autograder.grading.submissions.submission import find_submissions
from autograder.report.duplicates import find_duplicates
from autograder.report.likeness import alike, grams_of, groups, longest_passage, shared_by_most
from autograder.report.read import read_results
from autograder.report.tokens import read_cell, read_cells
from autograder.report.weights import NEAR, distance, near, read_checkpoint

CASE = "\n@test_case(points=1)\ndef test_a(f):\n    assert f(1) == 1\n"
SETUP = """import torch
import kshot
glyphs = kshot.glyphs()
train, validation = glyphs.split("train"), glyphs.split("validation")
for name, part in zip(("train", "validation"), (train, validation)):
    print(f"{name:12} {tuple(part.images.shape)}", part.images.dtype, len(part.classes))
"""
BLANK = [
    SETUP,
    'def prototypes(z, y, ways):\n    """The mean embedding of each class."""\n    ...',
    'def logits(z_query, c):\n    """Minus the squared distance of each query to each prototype."""\n    ...',
    'def loss_and_accuracy(logits, query_y):\n    """Cross-entropy and accuracy of each episode."""\n    ...',
]
# Four students who solved it on their own.
ONE_HOT = [
    """def prototypes(z, y, ways):
    one_hot = torch.nn.functional.one_hot(y, ways).to(z.dtype)
    return one_hot.mT @ z / one_hot.sum(1)[..., None]""",
    "def logits(z_query, c):\n    return -torch.cdist(z_query, c) ** 2",
    """def loss_and_accuracy(logits, query_y):
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), query_y, reduction="none").mean(1)
    acc = (logits.argmax(-1) == query_y).float().mean(1)
    return loss, acc""",
]
LOOPS = [
    """def prototypes(z, y, ways):
    out = []
    for t in range(z.shape[0]):
        out.append(torch.stack([z[t][y[t] == c].mean(0) for c in range(ways)]))
    return torch.stack(out)""",
    "def logits(z_query, c):\n    diff = z_query.unsqueeze(2) - c.unsqueeze(1)\n    return -(diff ** 2).sum(-1)",
    """def loss_and_accuracy(logits, query_y):
    losses, accs = [], []
    for l, t in zip(logits, query_y):
        losses.append(torch.nn.functional.cross_entropy(l, t))
        accs.append((l.argmax(1) == t).float().mean())
    return torch.stack(losses), torch.stack(accs)""",
]
MASKS = [
    """def prototypes(z, y, ways):
    T, S, D = z.shape
    c = torch.zeros(T, ways, D, dtype=z.dtype, device=z.device)
    for n in range(ways):
        mask = (y == n).unsqueeze(-1).float()
        c[:, n] = (z * mask).sum(dim=1) / mask.sum(dim=1)
    return c""",
    "def logits(z_query, c):\n    return -((z_query[:, :, None] - c[:, None]) ** 2).sum(dim=-1)",
    """def loss_and_accuracy(logits, query_y):
    logp = torch.log_softmax(logits, dim=-1)
    nll = -logp.gather(2, query_y.unsqueeze(-1)).squeeze(-1)
    accuracy = (logits.argmax(dim=-1) == query_y).float().mean(dim=1)
    return nll.mean(dim=1), accuracy""",
]
SCATTER = [
    """def prototypes(z, y, ways):
    index = y.unsqueeze(-1).expand_as(z)
    total = torch.zeros(z.size(0), ways, z.size(-1)).scatter_add(1, index, z)
    n = torch.zeros(z.size(0), ways).scatter_add(1, y, torch.ones_like(y, dtype=torch.float))
    return total / n.unsqueeze(-1)""",
    "def logits(z_query, c):\n    d = torch.cdist(z_query, c, p=2)\n    return -d.pow(2)",
    """def loss_and_accuracy(logits, query_y):
    T, Q, N = logits.shape
    loss = torch.nn.functional.cross_entropy(logits.reshape(T * Q, N), query_y.reshape(-1), reduction="none")
    return loss.reshape(T, Q).mean(dim=1), (logits.argmax(dim=2) == query_y).float().mean(dim=1)""",
]
OWN = [[SETUP, *answers] for answers in (ONE_HOT, LOOPS, MASKS, SCATTER)]


def disguised(cells: list[str]) -> list[str]:
    """A copy as one is handed in: other names, comments, layout, some prints, and the functions in another order."""
    names = {"mask": "sel", "z": "emb", "y": "lab", "c": "centre", "n": "k", "ways": "classes", "logp": "lp"}
    names |= {"nll": "ce", "accuracy": "hits", "z_query": "queries", "T": "B", "S": "num", "D": "dim_"}
    changed = []
    for cell in cells:
        if cell != SETUP:
            cell = re.sub(rf"(?<![.\w])({'|'.join(names)})\b", lambda match: names[match[1]], cell)
            cell = cell.replace("\n", "\n    # my own idea\n", 1) + "  # done\n\n\n"
            cell = cell.replace("    return", '    print("here", 1)\n    return', 1)
        changed.append(cell)
    return [changed[0], changed[3], changed[1], changed[2]]


def pairs_of(submissions: list[list[str]], given: list[str] = BLANK) -> list[tuple[int, int]]:
    found = alike([read_cells(cells) for cells in submissions], grams_of(read_cells(given)))
    return [(pair.first, pair.second) for pair in found]


def test_a_renamed_copy_is_found_and_independent_solutions_are_not():
    copy = disguised(OWN[2])
    for name in ("mask", "accuracy", "logp"):
        assert not re.search(rf"\b{name}\b", "".join(copy))
    assert pairs_of([*OWN, copy]) == [(2, 4)]


def test_two_untouched_notebooks_are_no_pair():
    assert pairs_of([BLANK, BLANK, OWN[0], [*BLANK[:1], *BLANK[2:]], [BLANK[0], BLANK[3], BLANK[1], BLANK[2]]]) == []


def test_seams_between_given_code_are_nobodys():
    """Twenty given functions, each left with another empty body: all that is new is one word at a time."""
    stubs = [
        f"def f{n}({', '.join('abcdefghijklmnopqrstuvw'[:n])}):\n    x = [{n}, {n}]\n    ..." for n in range(1, 21)
    ]
    filled = [stub.replace("...", "pass") for stub in stubs]
    assert pairs_of([filled, filled, filled[::-1]], stubs) == []


def test_what_everybody_writes_says_little_of_two():
    """Thirty students: all use the same standard function; only two share the rest."""
    draw = random.Random(1)

    def own():
        names = draw.sample(
            ("sum", "mean", "max", "view", "clone", "float", "sort", "abs", "exp", "log", "cos", "sin"), 6
        )
        return "\n".join(f"w = q.{name}({draw.randint(0, 99)}) + {draw.random():.3f}" for name in names)

    many = [[SETUP, *MASKS, own()] for _ in range(30)]
    many[7] = [SETUP, *MASKS, many[3][-1].replace("w", "v")]
    assert pairs_of(many) == [(3, 7)]


def test_copydetect_names_the_same_pair():
    """The peer library on the same five submissions."""
    copydetect = pytest.importorskip("copydetect")
    submissions = [*OWN, disguised(OWN[2])]

    def peer(cells, given=()):
        return copydetect.CodeFingerprint("x.py", 25, 1, list(given), True, "python", io.StringIO("\n".join(cells)))

    prints = [peer(cells, peer(BLANK).hashes) for cells in submissions]
    pairs = combinations(range(len(prints)), 2)
    shares = {(a, b): max(copydetect.compare_files(prints[a], prints[b])[1]) for a, b in pairs}
    assert [max(shares, key=shares.get)] == pairs_of(submissions)


def test_the_passage_shown_is_the_same_code_in_both():
    cells, copy, given = read_cells(OWN[2]), read_cells(disguised(OWN[2])), grams_of(read_cells(BLANK))
    passage = longest_passage(cells, copy, given)
    assert "mask.sum(dim=1)" in passage.first and "sel.sum(dim=1)" in passage.second
    assert read_cell(passage.first).tokens == read_cell(passage.second).tokens
    assert longest_passage(cells, read_cells(BLANK), given) is None


def test_without_the_given_notebook_what_most_share_is_given():
    submissions = [read_cells(cells) for cells in [*OWN, disguised(OWN[2]), BLANK]]
    assert [(pair.first, pair.second) for pair in alike(submissions, shared_by_most(submissions))] == [(2, 4)]


def test_three_hundred_submissions_hold_exactly_the_planted_ring():
    draw = random.Random(2)

    def line():
        return f"x{draw.randint(0, 9)} = a.{draw.choice('fghijk')}({draw.randint(0, 99)}, b[{draw.randint(0, 9)}])"

    many = [["\n".join(line() for _ in range(30))] for _ in range(300)]
    for copier in (50, 150, 299):
        many[copier] = [many[10][0].replace("a.", "obj.").replace("x", "name")]
    [ring] = groups(alike([read_cells(cells) for cells in many], set()))
    assert {member for pair in ring for member in (pair.first, pair.second)} == {10, 50, 150, 299} and len(ring) == 6


@settings(max_examples=60, deadline=None)
@hypothesis_given(st.one_of(st.text(max_size=200), st.text("'\"\\#\n rbf{}().a0", max_size=200)))
def test_any_text_has_tokens_with_their_lines(source):
    cell = read_cell(source)
    assert len(cell.tokens) == len(cell.at) and list(cell.at) == sorted(cell.at)
    assert all(0 <= line < len(cell.lines) for line in cell.at)


def test_tokens_forget_names_strings_comments_and_layout_only():
    one = read_cell("def f(x):\n    # why\n    return torch.sum(x, dim=1) + len('a b')")
    two = read_cell('def g( y ) :\n  return np.sum(y,\n dim = 1)+len("other")  # because')
    assert one.tokens == two.tokens
    other = ["torch.mean(x, dim=1) + len('a')", "torch.sum(x, dim=2) + len('a')", "torch.sum(x, dim=1) - len('a')"]
    assert all(read_cell(f"def f(x):\n    return {code}").tokens != one.tokens for code in other)


def network(seed: int, noise: float = 0.0, width: int = 8) -> dict:
    draw = torch.Generator().manual_seed(seed)
    more = torch.Generator().manual_seed(99)
    shapes = {"conv.weight": (width, 3, 3, 3), "conv.bias": (width,), "norm.running_var": (width,)}
    weights = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    weights["norm.running_var"] = 1000 * weights["norm.running_var"].square()
    changed = {
        name: tensor + noise * tensor.std() * torch.randn(tensor.shape, generator=more)
        for name, tensor in weights.items()
    }
    return changed | {"norm.num_batches_tracked": torch.tensor(7)}


def test_checkpoints_are_compared_by_their_weights():
    """The distance is that of a naive loop; a copy with little noise is near, another run is not."""
    files = [network(1), network(1, 1e-3), network(2), network(1, width=4), network(1, 0.2)]
    checkpoints = [read_checkpoint(owner, "w", weights) for owner, weights in enumerate(files)]
    total, number = 0.0, 0
    for name in ("conv.bias", "conv.weight", "norm.running_var"):
        a, b = files[0][name].flatten().tolist(), files[2][name].flatten().tolist()
        rms_a, rms_b = ((sum(v * v for v in side) / len(side)) ** 0.5 for side in (a, b))
        total += sum((x / rms_a - y / rms_b) ** 2 for x, y in zip(a, b))
        number += len(a)
    assert distance(checkpoints[0], checkpoints[2]) == pytest.approx((total / number) ** 0.5, rel=1e-5)
    assert [(pair.first, pair.second) for pair in near(checkpoints)] == [(0, 1)]
    assert distance(checkpoints[0], checkpoints[1]) < NEAR < distance(checkpoints[0], checkpoints[4])
    assert read_checkpoint(0, "w", {"count": torch.tensor(3)}) is None
    wide, poisoned = network(1, width=512), network(1, width=512)
    poisoned["conv.weight"][0, 0, 0, 0] = float("nan")
    assert len(near([read_checkpoint(0, "w", wide), read_checkpoint(1, "w", poisoned)])) == 1
    broken = [{"w": torch.tensor([float("nan"), 1.0])}, {"w": torch.tensor([float("inf"), 1.0])}, {"w": torch.zeros(2)}]
    assert all(near([read_checkpoint(0, "w", one), read_checkpoint(1, "w", network(1))]) == [] for one in broken)


@pytest.fixture
def batch(make_bundle, as_notebook, tmp_path):
    """batch({"ada": (cells, {file name: content})}, without=...) -> a graded folder, as the grader would leave it."""
    bundle = make_bundle({"q1": (1, CASE)})

    def write(students: dict, older: bool = False):
        submissions = tmp_path / "submissions"
        submissions.mkdir()
        for name, (cells, files) in students.items():
            with zipfile.ZipFile(submissions / f"{name}.zip", "w") as archive:
                archive.writestr("toy.ipynb", json.dumps(as_notebook(*cells)))
                for file, content in files.items():
                    archive.writestr(file, content)
        found = find_submissions(submissions, "toy")
        with Folder(tmp_path / "out", bundle, None if older else submissions, found) as folder:
            for submission in found:
                replaced = {
                    "status": "failed",
                    "fault": None,
                    "reason": f"Not graded: {submission.replaced_by} counts.",
                }
                state = {"status": "graded", "fault": None} if submission.replaced_by is None else replaced
                folder.write(record(submission, bundle, "cpu", **state))
        return tmp_path / "out"

    return write


@pytest.fixture
def notebook(as_notebook, tmp_path):
    """The folder that students received: the blank notebook and a file of weights."""
    folder = tmp_path / "handed_out"
    folder.mkdir()
    (folder / "toy.ipynb").write_text(json.dumps(as_notebook(*BLANK)))
    (folder / "start.safetensors").write_bytes(save(network(5)))
    return folder


def named(groups) -> list[list[str]]:
    return [[record.student for record in group.members] for group in groups]


def test_a_batch_is_compared_without_what_was_handed_out(batch, notebook):
    mine = {"mine.safetensors": save(network(1)), "start.safetensors": save(network(5))}
    noisy = {"other_name.safetensors": save(network(1, 1e-3)), "start.safetensors": save(network(5))}
    pickled = {"mine.safetensors": b"\x80\x04cos\nsystem\n.", "huge.safetensors": b"\xff" * 16}
    out = batch(
        {
            "ada": (OWN[2], mine),
            "ben": (disguised(OWN[2]), {"start.safetensors": save(network(5))}),
            "carla": (OWN[0], noisy),
            "deniz": (BLANK, pickled),
            "emil": (BLANK, {}),
            "toy_ada_2026_01_01T00_00_00_000000": (OWN[2], mine),
        }
    )
    found = find_duplicates(read_results(out), notebook=notebook)
    assert named(found.code) == [["ada", "ben"]] and named(found.weights) == [["ada", "carla"]]
    assert (found.compared, found.checkpoints, found.notes) == (5, 2, ())
    assert "mask" in found.code[0].passage.first


def test_submissions_that_moved_are_said_and_found_again(batch, notebook, tmp_path):
    out = batch({"ada": (OWN[2], {}), "ben": (disguised(OWN[2]), {}), "carla": (OWN[0], {})})
    (tmp_path / "submissions").rename(tmp_path / "moved")
    lost = find_duplicates(read_results(out), notebook=notebook)
    assert lost.code is None and len(lost.notes) == 1 and "no longer in" in lost.notes[0]
    assert named(find_duplicates(read_results(out), tmp_path / "moved", notebook).code) == [["ada", "ben"]]
    (tmp_path / "moved" / "ben.zip").write_bytes(b"not a zip any more")
    fewer = find_duplicates(read_results(out), tmp_path / "moved", notebook)
    assert named(fewer.code) == [] and "1 submission could not be opened again" in fewer.notes[0]


def test_a_folder_of_an_older_grader_is_searched_where_one_says(batch, notebook, tmp_path):
    out = batch({"ada": (OWN[2], {}), "ben": (disguised(OWN[2]), {})}, older=True)
    assert "not written down" in find_duplicates(read_results(out)).notes[0]
    assert named(find_duplicates(read_results(out), tmp_path / "submissions", notebook).code) == [["ada", "ben"]]


def test_too_few_to_know_what_was_given(batch):
    found = find_duplicates(read_results(batch({"ada": (OWN[2], {}), "ben": (OWN[2], {})})))
    assert found.code is None and "--given" in found.notes[0] and found.compared == 2
