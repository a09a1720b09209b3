"""Linear regression in context: a small transformer beside least squares, in and out of distribution, in one table.

    python benchmarks/in_context.py

The transformer reads k pairs (x, w.x) and predicts the y of other x; nothing in it is updated. It is the shipped
checkpoint `in_context_linear` (`python benchmarks/train.py in_context_linear` makes it); without that, one is trained
here for `--steps`, and the report says so. All learners see the same tasks (paired). Errors are shares of the zero
predictor's, which is 1 but for chance. Prints one table and which claims held, and writes
benchmarks/results/in_context.json; `--quick` is a run of seconds that writes nothing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from report import claim, options, write
from torch import Tensor, nn

import kshot
from kshot.black_box import BlackBox
from kshot.checkpoint import read, shipped
from kshot.learners.attention import InContextTransformer
from kshot.learners.classical import AveragedProducts, LeastSquares, NearestNeighbours, Ridge, Zero
from kshot.recipes import RECIPES
from kshot.tasks import LinearRegression

RESULTS = Path(__file__).parent / "results" / "in_context.json"
SEED = 2026
QUERIES = 10
ORDERS = 10
NOISE = 0.5

# What differs from training: LinearRegression's arguments.
VARIANTS: dict[str, dict] = {
    "in distribution": {},
    "skewed inputs": {"inputs": "skewed"},
    "half the dimensions": {"inputs": "subspace"},
    "orthants": {"inputs": "orthants"},
    "query at a support point": {"inputs": "at_support"},
    "inputs x 1/3": {"scale": 1 / 3},
    "inputs x 2": {"scale": 2.0},
    "inputs x 3": {"scale": 3.0},
    f"noise {NOISE}": {"noise": NOISE},
}
LEARNERS = {
    "Least squares": LeastSquares(),
    "Ridge (knows the noise)": Ridge(NOISE),
    "3 nearest neighbours": NearestNeighbours(3),
    "Averaging": AveragedProducts(),
    "Zero": Zero(),
}


@dataclass(frozen=True)
class Size:
    """How much is measured: tasks of `dimension` with 0 to `most` examples."""

    dimension: int
    most: int
    episodes: int = 1000


def transformer(steps: int) -> tuple[InContextTransformer, dict]:
    """The shipped transformer, or one trained here, and how it was made."""
    try:
        learner = kshot.pretrained("in_context_linear")
    except KeyError:
        recipe = RECIPES["in_context_linear"]
        learner = recipe.build()
        settings = dict(steps=steps, batch=recipe.batch, learning_rate=recipe.learning_rate, schedule="cosine", seed=0)
        history = kshot.fit(learner, recipe.tasks(), **settings, progress=False)
        return learner, {"source": "trained here", **settings, "cpu_seconds": round(history.cpu_seconds)}
    metadata = read(shipped("in_context_linear"))[1]
    kept = ("learner", "tasks", "steps", "batch", "learning_rate", "schedule", "seed")
    made = {name: metadata["settings"].get(name) for name in kept}
    return learner, {"source": "shipped", **made, "cpu_seconds": round(metadata["history"]["cpu_seconds"])}


def mispaired(y: Tensor) -> Tensor:
    """The targets [T, k, 1] moved on by one place: each x is shown with another x's y."""
    return y.roll(1, 1)


@torch.no_grad()
def by_examples(
    learner: nn.Module, size: Size, change: Callable[[Tensor], Tensor] | None = None, **variant
) -> list[dict]:
    """Squared error as a share of the zero predictor's, for each number k of examples.

    `change` is made to the examples' targets; `variant` goes to LinearRegression.
    """
    of_zero = size.dimension * variant.get("scale", 1.0) ** 2 + variant.get("noise", 0.0) ** 2  # the mean of y^2
    rows = []
    for k in range(size.most + 1):
        # An episode has a support: without examples, the queries are those of k = 1.
        tasks = LinearRegression(size.dimension, max(k, 1), QUERIES, **variant)
        drawn = tasks.sample(size.episodes, torch.Generator().manual_seed(SEED))
        x, y = drawn.support_x[:, :k], drawn.support_y[:, :k]
        if k == 0 and not isinstance(learner, BlackBox):  # what is nothing but its examples knows nothing: zero
            answers = torch.zeros_like(drawn.query_y)
        else:
            answers = learner(x, y if change is None else change(y), drawn.query_x)
        share = kshot.Result((answers - drawn.query_y).square().mean((1, 2)) / of_zero, percent=False)
        rows.append({"k": k, "mean": float(f"{share.mean:.4g}"), "interval": float(f"{share.interval:.4g}")})
    return rows


@torch.no_grad()
def order_sensitivity(learner: nn.Module, size: Size) -> float:
    """Standard deviation of a prediction over orders of all its examples, as a share of the targets' own."""
    tasks = LinearRegression(size.dimension, size.most, QUERIES)
    drawn = tasks.sample(size.episodes, torch.Generator().manual_seed(SEED))
    generator = torch.Generator().manual_seed(SEED)
    orders = [torch.randperm(size.most, generator=generator) for _ in range(ORDERS)]
    answers = torch.stack([learner(drawn.support_x[:, o], drawn.support_y[:, o], drawn.query_x) for o in orders])
    return float(f"{float((answers.var(0).mean() / size.dimension).sqrt()):.3g}")


def measure(learner: InContextTransformer, episodes: int) -> dict:
    """Everything that results/in_context.json holds, but how the transformer was made."""
    size = Size(learner.inputs, min(learner.points - 1, 2 * learner.inputs), episodes)
    learners = {"Transformer": learner.eval()} | LEARNERS
    report = {
        "settings": asdict(size) | {"seed": SEED, "queries": QUERIES},
        "variants": {
            variant: {name: by_examples(each, size, **arguments) for name, each in learners.items()}
            for variant, arguments in VARIANTS.items()
        },
        "wrongly paired": {name: by_examples(learners[name], size, mispaired) for name in ("Transformer", "Zero")},
        "order": {name: order_sensitivity(learners[name], size) for name in ("Transformer", "Least squares")},
    }
    return report | {"claims": claims(report)}


def claims(report: dict) -> list[dict]:
    """Claims made of learning in context, each with the figures that bear it out or do not."""
    d, last = report["settings"]["dimension"], report["settings"]["most"]
    of = {
        variant: {name: [row["mean"] for row in rows] for name, rows in each.items()}
        for variant, each in report["variants"].items()
    }
    ours, exact, averaging = (of["in distribution"][n] for n in ("Transformer", "Least squares", "Averaging"))
    tripled, half = of["inputs x 3"], of["half the dimensions"]
    mixed = report["wrongly paired"]["Transformer"][last]
    neighbours = of["in distribution"]["3 nearest neighbours"]
    return [
        claim("The error at k = d is at most half of that at k = 1", ours[d] <= 0.5 * ours[1], [ours[1], ours[d]]),
        claim("At k = d it is below averaging's and nearest neighbours'", ours[d] < min(averaging[d], neighbours[d]),
              [ours[d], averaging[d], neighbours[d]]),
        claim("From k = d on it is within 0.15 of least squares",
              all(ours[k] - exact[k] <= 0.15 for k in range(d, last + 1)), ours[d:]),
        claim("Wrongly paired examples destroy it: no better than zero", mixed["mean"] > 1 - mixed["interval"], mixed),
        claim("Inputs three times as large more than double its error, least squares stays exact",
              tripled["Transformer"][last] > 2 * ours[last] and tripled["Least squares"][last] < 1e-3,
              [ours[last], tripled["Transformer"][last]]),
        claim("In half the dimensions, too, it is within 0.15 of least squares from k = d on",
              all(half["Transformer"][k] - half["Least squares"][k] <= 0.15 for k in range(d, last + 1)),
              half["Transformer"][d:]),
        claim("The order of the examples moves its answer, and least squares' not at all",
              report["order"]["Transformer"] > 1e-3 > report["order"]["Least squares"], report["order"]),
    ]  # fmt: skip


def markdown(report: dict) -> str:
    """The table: the share of the zero predictor's error that is left, by number of examples in context."""
    ks = range(report["settings"]["most"] + 1)
    lines = ["| tasks | learner | " + " | ".join(f"k = {k}" for k in ks) + " |", "|---" * (len(ks) + 2) + "|"]
    for variant, each in report["variants"].items():
        best = "Ridge (knows the noise)" if variant.startswith("noise") else "Least squares"
        for name, rows in each.items():
            if name in ("Transformer", best) or (variant == "in distribution" and not name.startswith("Ridge")):
                lines.append(f"| {variant} | {name} | {cells(rows)} |")
    lines.append(f"| wrongly paired | Transformer | {cells(report['wrongly paired']['Transformer'])} |")
    return "\n".join(lines)


def cells(rows: list[dict]) -> str:
    return " | ".join(f"{row['mean']:.2g} ± {row['interval']:.1g}" if row["mean"] > 1e-4 else "0" for row in rows)


def main() -> None:
    parser = options(__doc__, Size.episodes)
    parser.add_argument("--steps", type=int, default=10_000, help="of training, where no checkpoint is shipped")
    arguments = parser.parse_args()

    def made_and_measured() -> dict:
        learner, made = transformer(30 if arguments.quick else arguments.steps)
        print(f"transformer: {made['source']}")
        return {"transformer": made} | measure(learner, 50 if arguments.quick else arguments.episodes)

    write(arguments, made_and_measured, markdown, RESULTS)


if __name__ == "__main__":
    main()
