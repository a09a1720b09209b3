"""Sinusoid regression: gradient-based learners beside joint training, scratch and an oracle, in one table.

    python benchmarks/sinusoid.py

Each learner adapts the same perceptron (1-40-40-1, ReLU, PyTorch's own initialisation) to the same test tasks (paired)
by 0 to 100 gradient steps. Each kind has the same five trials for its inner rate, on validation tasks; its three seeds
are then trained with the best. Prints one table and which claims held, and writes benchmarks/results/sinusoid.json
(beside the table: errors by inner step, by amplitude and by training step). `--save` also writes seed 0 of each kind to
datasets/checkpoints/sinusoid_*.safetensors; `--quick` is a run of seconds that writes nothing.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from report import claim, options, write
from torch import Tensor, nn

import kshot
from kshot.checkpoint import SHIPPED
from kshot.gradient_based import GradientLearner
from kshot.learners.classical import SinusoidOracle, Zero
from kshot.learners.gradient import MAML, Reptile
from kshot.recipes import perceptron
from kshot.scores import score
from kshot.tasks import Sinusoids

RESULTS = Path(__file__).parent / "results" / "sinusoid.json"
TABLE = (0, 1, 5, 10)  # inner steps
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
TEST, VALIDATION = 2026, 1  # seeds of the tasks


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    episodes: int = 600
    seeds: tuple[int, ...] = (0, 1, 2)
    horizons: tuple[int, ...] = (1000, 3000, 10_000)  # training steps after which the learners are measured
    trial: int = 2000  # training steps of a trial of an inner rate
    trial_episodes: int = 200
    inner: tuple[int, ...] = (0, 1, 2, 3, 5, 10, 20, 50, 100)
    amplitudes: tuple[float, ...] = (0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)


QUICK = Size(20, (0, 1), (20, 60), 20, 20, (0, 1, 5, 10, 20), (1, 5, 10))


class Joint(MAML):
    """The usual pre-training: one function for all tasks at once, fine-tuned on a task's support afterwards."""

    def losses(self, episodes: kshot.Episodes) -> Tensor:
        """The squared error of the start itself on support and queries, [T]."""
        x = torch.cat([episodes.support_x, episodes.query_x], 1)
        y = torch.cat([episodes.support_y, episodes.query_y], 1)
        return (self.net(x) - y).square().mean((1, 2))


@dataclass(frozen=True)
class Kind:
    """A row of the table: how a learner is built from a seed and an inner rate, and whether it is trained."""

    build: Callable[[int, float], GradientLearner]
    trained: bool = True
    name: str | None = None  # of its checkpoint


KINDS = {
    "MAML": Kind(lambda seed, rate: MAML(perceptron(seed), rate=rate), name="sinusoid_maml"),
    "First-order MAML": Kind(
        lambda seed, rate: MAML(perceptron(seed), rate=rate, order=1), name="sinusoid_first_order"
    ),
    "ANIL": Kind(lambda seed, rate: MAML(perceptron(seed), rate=rate, adapts="head"), name="sinusoid_anil"),
    "Reptile": Kind(lambda seed, rate: Reptile(perceptron(seed), rate=rate), name="sinusoid_reptile"),
    "Joint training": Kind(lambda seed, rate: Joint(perceptron(seed), rate=rate), name="sinusoid_joint"),
    "From scratch": Kind(lambda seed, rate: MAML(perceptron(seed), rate=rate), trained=False),
}


def train(learner: GradientLearner, steps: int, seed: int, **options) -> kshot.History:
    """Adam at 1e-3, 25 tasks a step with 10 support points and 10 queries each; the last weights count."""
    return kshot.fit(learner, Sinusoids(), steps=steps, batch=25, seed=seed, progress=False, **options)


@torch.no_grad()
def errors(learner: nn.Module, steps: int, tasks: Sinusoids, episodes: int, seed: int = TEST) -> Tensor:
    """Squared error of each task [episodes] after `steps` inner steps; infinite for all where one diverged."""
    learner.eval().evaluation_steps = steps
    try:
        return score(learner, tasks.sample(episodes, torch.Generator().manual_seed(seed)))
    except FloatingPointError:
        return torch.full((episodes,), math.inf)


def tune(kind: Kind, size: Size) -> dict[float, dict[int, float]]:
    """Validation error by inner rate and number of inner steps (1, 5, 10), each rate from one short training."""
    trials = {}
    for rate in RATES:
        learner = kind.build(0, rate)
        try:
            if kind.trained:
                train(learner, size.trial, seed=0)
        except FloatingPointError:
            trials[rate] = dict.fromkeys(TABLE[1:], math.inf)
            continue
        trials[rate] = {
            steps: float(errors(learner, steps, Sinusoids(), size.trial_episodes, VALIDATION).mean())
            for steps in TABLE[1:]
        }
    return trials


def best(trials: dict[float, dict[int, float]]) -> float:
    """The rate of the least mean error over 1, 5 and 10 inner steps."""
    return min(trials, key=lambda rate: sum(trials[rate].values()))


class Seeds:
    """The learners of one kind, one a seed, trained step by step with a copy kept at each horizon."""

    def __init__(self, kind: Kind, rate: float, size: Size, ship: bool = False):
        self.rate, self.size, self.cpu_seconds = rate, size, []
        self.copies: dict[int, list[GradientLearner]] = {steps: [] for steps in size.horizons}
        for seed in size.seeds:
            learner = kind.build(seed, rate)

            def keep(step: int, loss: float = 0.0, seed=seed, learner=learner) -> None:
                if step in self.copies:
                    copy = kind.build(seed, rate)
                    copy.load_state_dict(learner.state_dict())
                    self.copies[step].append(copy.eval())

            if not kind.trained:
                for step in size.horizons:
                    keep(step)
                self.cpu_seconds.append(0.0)
                continue
            path = SHIPPED / f"{kind.name}.safetensors" if ship and seed == 0 else None
            if path:
                path.unlink(missing_ok=True)
            history = train(learner, size.horizons[-1], seed, on_step=keep, checkpoint=path)
            self.cpu_seconds.append(round(history.cpu_seconds, 1))

    def errors(
        self, steps: int, tasks: Sinusoids | None = None, horizon: int | None = None, episodes: int | None = None
    ) -> Tensor:
        """Squared error of each seed and task, [seeds, episodes]."""
        learners = self.copies[horizon or self.size.horizons[-1]]
        tasks, episodes = tasks or Sinusoids(queries=50), episodes or self.size.episodes
        return torch.stack([errors(learner, steps, tasks, episodes) for learner in learners])


def summary(values: Tensor) -> dict:
    """Mean over seeds and tasks of [seeds, episodes], its 95 % interval over tasks, and each seed's mean."""
    of_tasks = kshot.Result(values.mean(0), percent=False)
    by_seed = [number(float(each)) for each in values.mean(1)]
    return {"mean": number(of_tasks.mean), "interval": number(of_tasks.interval), "by_seed": by_seed}


def number(value: float) -> float | None:
    """Four digits; None where a seed diverged."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def measure(size: Size, ship: bool = False) -> dict:
    """Everything that results/sinusoid.json holds."""
    trials, seeds = {}, {}
    for name, kind in KINDS.items():
        trials[name] = tune(kind, size)
        seeds[name] = Seeds(kind, best(trials[name]), size, ship)
        print(f"{name}: inner rate {seeds[name].rate:g}, CPU seconds {seeds[name].cpu_seconds}", flush=True)
    rows = [
        {"learner": name, "shots": shots, "steps": steps}
        | summary(each.errors(steps, Sinusoids(shots=shots, queries=50)))
        for shots in (10, 5)
        for name, each in seeds.items()
        for steps in TABLE
    ]
    report = {
        "settings": asdict(size) | {"seed": TEST, "shots": [10, 5], "queries": 50, "outer": "Adam 0.001, 25 tasks"},
        "rows": rows,
        "floors": floors(size),
        "by_horizon": by_horizon(seeds, size),
        "by_inner_step": {
            name: [{"steps": steps} | summary(each.errors(steps)) for steps in size.inner]
            for name, each in seeds.items()
        },
        "by_amplitude": by_amplitude(seeds, size),
        "shifted": shifted(seeds, size),
        "trials": {name: {str(rate): clean(errors) for rate, errors in each.items()} for name, each in trials.items()},
        "rates": {name: each.rate for name, each in seeds.items()},
        "cpu_seconds": {name: each.cpu_seconds for name, each in seeds.items()},
    }
    return report | {"claims": claims(report)}


def clean(trial: dict[int, float]) -> dict[str, float | None]:
    return {str(steps): number(error) for steps, error in trial.items()}


def floors(size: Size) -> dict:
    """What no learning gives: zero; the best guess without a support; and what knowing the family gives."""
    zero, oracle = (
        summary(errors(learner, 0, Sinusoids(queries=50), size.episodes)[None])
        for learner in (Zero(), SinusoidOracle())
    )
    # 3.006 is the error of E[y | x] = -(2 / pi) E[A] cos x, over all tasks
    return {"zero": zero, "best without a support": 3.006, "oracle": oracle}


def by_horizon(seeds: dict[str, Seeds], size: Size) -> list[dict]:
    """First order minus MAML on the same tasks, after each number of training steps."""
    rows = []
    for horizon in size.horizons:
        for steps in TABLE[1:]:
            second, first = (seeds[name].errors(steps, horizon=horizon) for name in ("MAML", "First-order MAML"))
            rows.append(
                {"horizon": horizon, "steps": steps, "MAML": summary(second), "First-order MAML": summary(first)}
                | {"difference": summary(first - second)}
            )
    return rows


def by_amplitude(seeds: dict[str, Seeds], size: Size) -> list[dict]:
    """Squared error on tasks of one amplitude, inside the training range (up to 5) and outside."""
    rows = []
    for amplitude in size.amplitudes:
        tasks = Sinusoids(queries=50, amplitude=(amplitude, amplitude))
        for steps in (1, 10, 100):
            means = {name: summary(s.errors(steps, tasks, episodes=size.trial_episodes)) for name, s in seeds.items()}
            rows.append({"amplitude": amplitude, "steps": steps, "zero": amplitude**2 / 2} | means)
    return rows


def shifted(seeds: dict[str, Seeds], size: Size) -> list[dict]:
    """Phases from the half circle that training left out: each such sine is minus one that training showed."""
    tasks = Sinusoids(queries=50, phase=(math.pi, 2 * math.pi))
    return [
        {"learner": name, "steps": steps} | summary(each.errors(steps, tasks))
        for name, each in seeds.items()
        for steps in (1, 10, 100)
    ]


def claims(report: dict) -> list[dict]:
    """Claims that are made of this problem, each with the figures that bear it out or do not."""
    mean: dict[str, dict[int, float]] = {name: {} for name in report["rates"]}
    for row in report["rows"]:
        if row["shots"] == 10:
            mean[row["learner"]][row["steps"]] = finite(row["mean"])
    maml, first, anil, reptile, joint = (
        mean[name] for name in ("MAML", "First-order MAML", "ANIL", "Reptile", "Joint training")
    )
    longer = {row["steps"]: finite(row["mean"]) for row in report["by_inner_step"]["MAML"]}
    last = report["settings"]["horizons"][-1]
    gaps = {(row["horizon"], row["steps"]): row["difference"] for row in report["by_horizon"]}
    far = report["settings"]["amplitudes"][-1]
    outside = {row["steps"]: finite(row["MAML"]["mean"]) for row in report["by_amplitude"] if row["amplitude"] == far}

    def worse(steps: int) -> bool:
        return all(finite(gap["mean"]) > (gap["interval"] or 0) for (_, of), gap in gaps.items() if of == steps)

    def shown_gaps(steps: int) -> str:
        of = {horizon: gap for (horizon, s), gap in gaps.items() if s == steps}
        return ", ".join(f"{finite(gap['mean']):+.3f} ± {gap['interval'] or 0:.3f} at {h}" for h, gap in of.items())

    def ratios(steps: int) -> dict[int, float]:
        rows = [row for row in report["by_horizon"] if row["steps"] == steps]
        return {r["horizon"]: round(finite(r["First-order MAML"]["mean"]) / finite(r["MAML"]["mean"]), 2) for r in rows}

    return [
        claim("MAML: one step leaves at most a fifth of the error before it", maml[1] <= 0.2 * maml[0], maml),
        claim("MAML, trained for one step, goes on improving: 10 < 5 < 1", maml[10] < maml[5] < maml[1], maml),
        claim(f"MAML improves up to {max(longer)} steps", longer[max(longer)] <= min(longer.values()) * 1.02, longer),
        claim("Before adapting, MAML's start is as bad as joint training's (within 10 %)",
              abs(maml[0] / joint[0] - 1) <= 0.1, (maml[0], joint[0])),
        claim("Before adapting, first order's start is as bad as MAML's (within 10 %)",
              abs(first[0] / maml[0] - 1) <= 0.1, (first[0], maml[0])),
        claim("MAML after 1 step beats joint training after 10", maml[1] < joint[10], (maml[1], joint[10])),
        claim("First order is worse than MAML after 1 step, however long both train", worse(1), shown_gaps(1)),
        claim("First order is worse than MAML after 10 steps, however long both train", worse(10), shown_gaps(10)),
        claim("First order keeps within 1.5 times MAML's error after 1 step", ratios(1)[last] <= 1.5, ratios(1)),
        claim("First order keeps within 1.5 times MAML's error after 10 steps", ratios(10)[last] <= 1.5, ratios(10)),
        claim("MAML beats Reptile after 1 step", maml[1] < reptile[1], (maml[1], reptile[1])),
        claim("MAML beats Reptile after 10 steps", maml[10] < reptile[10], (maml[10], reptile[10])),
        claim("ANIL's best error within 10 steps is at least twice MAML's: here features must change",
              min(anil.values()) >= 2 * min(maml.values()), (min(anil.values()), min(maml.values()))),
        claim("ANIL, trained for one step, goes on improving: 10 < 5 < 1", anil[10] < anil[5] < anil[1], anil),
        claim(f"At amplitude {far:g}, outside the training range, MAML still gains from 10 steps over 1",
              outside[10] < outside[1], outside),
    ]  # fmt: skip


def finite(value: float | None) -> float:
    """The number, infinite for what diverged."""
    return math.inf if value is None else value


def markdown(report: dict, every: tuple[int, ...] = (10, 5)) -> str:
    """The table: squared error by inner steps at `every` number of shots, with the CPU seconds of one training."""
    columns = [(shots, steps) for shots in every for steps in TABLE]
    heads = [f"{shots} shots, {steps} step{'' if steps == 1 else 's'}" for shots, steps in columns]
    lines = [
        "| learner | " + " | ".join(heads) + " | inner rate | CPU s |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for name in report["rates"]:
        rows = {(r["shots"], r["steps"]): r for r in report["rows"] if r["learner"] == name}
        cells = " | ".join(shown(rows[column]) for column in columns)
        seconds = report["cpu_seconds"][name]
        lines.append(f"| {name} | {cells} | {report['rates'][name]:g} | {sum(seconds) / len(seconds):.0f} |")
    for name, floor in report["floors"].items():
        text = shown(floor) if isinstance(floor, dict) else f"{floor:.3g}"
        lines.append(f"| floor: {name} | " + " | ".join([text] * len(columns)) + " | – | – |")
    return "\n".join(lines)


def shown(row: dict) -> str:
    """`0.48 ± 0.03`, or that a seed diverged."""
    if row["mean"] is None:
        return "diverged"
    if row["mean"] < 1e-6:
        return "0"
    half = float(f"{row['interval']:.1g}")  # one digit, and no exponent for 20
    return f"{row['mean']:.3g} ± {half:g}"


def main() -> None:
    parser = options(__doc__, Size.episodes)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else replace(Size(), episodes=arguments.episodes)
    write(arguments, lambda: measure(size, arguments.save and not arguments.quick), markdown, RESULTS)


if __name__ == "__main__":
    main()
