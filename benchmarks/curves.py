"""Neural process and LSTM against the exact Gaussian process, by number of context points, in one table.

    python benchmarks/curves.py

Both read points of curves from a Gaussian process and predict others; what can be predicted at all is known exactly.
All learners see the same test curves, and with more points the same ones and then some more (paired). The LSTM
predicts a mean alone: its likelihood takes the one standard deviation that fits best on validation curves, for each
number of points. Prints one table and which claims held, and writes benchmarks/results/curves.json. `--save` also
writes seed 0 of each to datasets/checkpoints/curves_*.safetensors; `--quick` is a run of seconds that writes nothing.
"""

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from report import claim, options, write
from torch import Tensor, nn
from torch.distributions import Normal

import kshot
from kshot.checkpoint import SHIPPED
from kshot.learners.classical import Average, GaussianProcess, NearestNeighbours, Zero
from kshot.learners.memory import LSTMLearner
from kshot.learners.neural_process import NeuralProcess
from kshot.tasks import GaussianProcessCurves

RESULTS = Path(__file__).parent / "results" / "curves.json"
TEST, VALIDATION = 2026, 1  # seeds of the curves
QUERIES = 20
ORDERS = 10


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    episodes: int = 600
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 8000  # of training, 64 curves each
    points: tuple[int, ...] = (1, 2, 3, 5, 7, 9, 12, 16, 20)  # training shows 3 to 9
    order: int = 9  # points of the contexts that are reordered


QUICK = Size(20, (0, 1), 30, (1, 3, 9), 9)
KINDS = {
    "Neural process": (lambda seed: NeuralProcess(inputs=1, targets=1, seed=seed), "curves_cnp"),
    "LSTM": (lambda seed: LSTMLearner(inputs=1, targets=1, seed=seed), "curves_lstm"),
}


def train(kind: str, seed: int, steps: int, checkpoint: Path | None = None) -> tuple[nn.Module, kshot.History]:
    """Adam at 1e-3 down to zero, 64 curves a step with 3 to 9 points and 2 to 9 queries."""
    learner = KINDS[kind][0](seed)
    settings = dict(steps=steps, batch=64, learning_rate=1e-3, schedule="cosine", seed=seed)
    history = kshot.fit(learner, GaussianProcessCurves(), **settings, checkpoint=checkpoint, progress=False)
    return learner.eval(), history


def test_curves(episodes: int, most: int, seed: int = TEST) -> kshot.Episodes:
    """Curves with `most` support points, of which a context takes the first few, and 20 queries."""
    return GaussianProcessCurves(shots=most, queries=QUERIES).sample(episodes, torch.Generator().manual_seed(seed))


def predict(learner: nn.Module, curves: kshot.Episodes, points: int) -> tuple[Tensor, Normal | None]:
    """The predicted means [T, Q, 1] from the first `points` of the support, and the distribution where there is one."""
    given = curves.support_x[:, :points], curves.support_y[:, :points], curves.query_x
    if not hasattr(learner, "distribution"):
        return learner(*given), None
    distribution = learner.distribution(*given)
    return distribution.mean, distribution


@torch.no_grad()
def by_points(learners: list[nn.Module], size: Size) -> list[dict]:
    """Squared error and negative log-likelihood a point, over seeds and curves, for each number of points."""
    curves = test_curves(size.episodes, max(size.points))
    validation = test_curves(size.episodes, max(size.points), VALIDATION)
    rows = []
    for points in size.points:
        squared, nll = [], []
        for learner in learners:
            mean, distribution = predict(learner, curves, points)
            if distribution is None:
                deviation = (predict(learner, validation, points)[0] - validation.query_y).square().mean().sqrt()
                distribution = Normal(mean, deviation.clamp_min(1e-3).expand_as(mean))
            squared.append((mean - curves.query_y).square().mean((1, 2)))
            nll.append(-distribution.log_prob(curves.query_y).mean((1, 2)))
        rows.append({"points": points, "mse": summary(torch.stack(squared)), "nll": summary(torch.stack(nll))})
    return rows


def summary(values: Tensor) -> dict:
    """Mean over seeds and curves of [seeds, episodes], its 95 % interval over curves, and each seed's mean."""
    of_curves = kshot.Result(values.mean(0), percent=False)
    by_seed = [round(float(each), 5) for each in values.mean(1)]
    return {"mean": round(of_curves.mean, 5), "interval": round(of_curves.interval, 5), "by_seed": by_seed}


@torch.no_grad()
def order_sensitivity(learners: list[nn.Module], size: Size) -> dict:
    """How far predictions move when the same context is given in other orders.

    `deviation` is the root mean square over curves and queries of the standard deviation over orders, in units of y
    (the curves' own is 1); `largest` is the largest change of any prediction; means over seeds and the worst seed.
    """
    curves = test_curves(size.episodes, size.order)
    generator = torch.Generator().manual_seed(TEST)
    orders = [torch.randperm(size.order, generator=generator) for _ in range(ORDERS)]
    deviations, changes = [], []
    for learner in learners:
        means = torch.stack([
            learner(curves.support_x[:, order], curves.support_y[:, order], curves.query_x) for order in orders
        ])  # fmt: skip
        deviations.append(float(means.var(0).mean().sqrt()))
        changes.append(float((means - means[0]).abs().max()))
    deviation = float(f"{sum(deviations) / len(deviations):.3g}")
    return {"deviation": deviation, "largest": float(f"{max(changes):.3g}"), "points": size.order}


@torch.no_grad()
def at_context(learners: list[nn.Module], size: Size) -> float:
    """Root mean square error at the context's own points: how far a learner underfits what it was shown."""
    curves = test_curves(size.episodes, size.order)
    shown = curves.support_x, curves.support_y
    squared = [(learner(*shown, curves.support_x) - curves.support_y).square().mean() for learner in learners]
    return float(torch.stack(squared).mean().sqrt())


def measure(size: Size, ship: bool = False) -> dict:
    """Everything that results/curves.json holds."""
    learners: dict[str, list[nn.Module]] = {
        "Zero": [Zero()],
        "Average": [Average()],
        "3 nearest neighbours": [NearestNeighbours(3)],
        "Gaussian process (exact)": [GaussianProcess()],
    }
    seconds = {}
    for kind, (_, name) in KINDS.items():
        learners[kind], seconds[kind] = [], []
        for seed in size.seeds:
            path = SHIPPED / f"{name}.safetensors" if ship and seed == 0 else None
            if path:
                path.unlink(missing_ok=True)
            learner, history = train(kind, seed, size.steps, path)
            learners[kind].append(learner)
            seconds[kind].append(round(history.cpu_seconds, 1))
        print(f"{kind}: trained in {seconds[kind]} CPU seconds", flush=True)
    report = {
        "settings": asdict(size) | {"seed": TEST, "queries": QUERIES, "batch": 64, "outer": "Adam 0.001, cosine"},
        "rows": {name: by_points(each, size) for name, each in learners.items()},
        "order": {name: order_sensitivity(each, size) for name, each in learners.items()},
        "at_context": {name: round(at_context(each, size), 5) for name, each in learners.items()},
        "cpu_seconds": seconds,
        "parameters": {kind: sum(p.numel() for p in learners[kind][0].parameters()) for kind in KINDS},
    }
    return report | {"claims": claims(report)}


def claims(report: dict) -> list[dict]:
    """Claims made of neural processes, each with the figures that bear it out or do not."""
    rows, order = report["rows"], report["order"]
    nll = {name: {row["points"]: row["nll"]["mean"] for row in rows[name]} for name in rows}
    mse = {name: {row["points"]: row["mse"]["mean"] for row in rows[name]} for name in rows}
    seen = [points for points in nll["LSTM"] if points <= 9]
    ours, exact, lstm = (nll[name] for name in ("Neural process", "Gaussian process (exact)", "LSTM"))
    return [
        claim("The neural process's NLL falls with every context point up to 9",
              all(ours[b] < ours[a] for a, b in pairwise(seen)), ours),
        claim("The neural process's NLL stays above the exact one", all(ours[p] > exact[p] for p in ours),
              {p: round(ours[p] - exact[p], 3) for p in ours}),
        claim("Reordering the context changes no bit of the neural process", order["Neural process"]["largest"] == 0,
              order["Neural process"]["largest"]),
        claim("Reordering the context changes the LSTM by more than 0.05",
              order["LSTM"]["deviation"] > 0.05, order["LSTM"]),
        claim("The neural process misses its own context points by twice the exact process or more",
              report["at_context"]["Neural process"] >= 2 * report["at_context"]["Gaussian process (exact)"],
              report["at_context"]),
        claim("The neural process's squared error is below the LSTM's from 3 to 9 points",
              all(mse["Neural process"][p] < mse["LSTM"][p] for p in seen if p >= 3),
              {p: (mse["Neural process"][p], mse["LSTM"][p]) for p in seen}),
        claim("The neural process's NLL is below the LSTM's from 3 to 9 points",
              all(ours[p] < lstm[p] for p in seen if p >= 3), {p: (ours[p], lstm[p]) for p in seen}),
    ]  # fmt: skip


def markdown(report: dict) -> str:
    """The table: squared error and negative log-likelihood by number of context points."""
    points = [row["points"] for row in report["rows"]["Zero"]]
    lines = [
        "| learner | | " + " | ".join(f"{p} points" for p in points) + " | order | CPU s |",
        "|---" * (len(points) + 4) + "|",
    ]
    for name, rows in report["rows"].items():
        seconds = report["cpu_seconds"].get(name)
        cost = f"{sum(seconds) / len(seconds):.0f}" if seconds else "–"
        order = report["order"][name]["deviation"]
        squared = " | ".join(f"{row['mse']['mean']:.3f} ± {row['mse']['interval']:.3f}" for row in rows)
        lines.append(f"| {name} | MSE | {squared} | {order:.1g} | {cost} |")
        if name in (*KINDS, "Gaussian process (exact)"):
            nll = " | ".join(f"{row['nll']['mean']:.2f} ± {row['nll']['interval']:.2f}" for row in rows)
            lines.append(f"| | NLL | {nll} | | |")
    return "\n".join(lines)


def main() -> None:
    parser = options(__doc__, Size.episodes)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else replace(Size(), episodes=arguments.episodes)
    write(arguments, lambda: measure(size, arguments.save and not arguments.quick), markdown, RESULTS)


if __name__ == "__main__":
    main()
