"""What gradient-based learners share: a start, inner steps from it, and one door to three engines.

f(D_train, x) = g(phi, x), where phi is reached from a learned start theta by a few gradient steps on D_train.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kshot.episodes import Episodes
from kshot.functional import FunctionalNet, task_loss, width
from kshot.inner import Parameters, Watch, autograd_slopes, descend, require_finite
from kshot.inner_rates import InnerRates, chosen
from kshot.nets import Conv4, Statistics
from kshot.stacked import StackedMLP, stacked_slopes

ENGINES = ("auto", "loop", "vmap", "stacked")


class Adapted(NamedTuple):
    """phi: the parameters that adapted, [T, *shape] by name, and what normalises each task's queries."""

    parameters: Parameters
    statistics: list[Statistics | None]


class GradientLearner(nn.Module):
    """A start theta, and inner steps from it; a subclass gives `losses`, which say how theta is learned.

    net:     Conv4, or any module that maps one task's batch [B, *x] to [B, D]
    ways:    N: a linear head D -> N follows and class ids are predicted; None: the net's own output [B, d] is the
             prediction, and its loss the squared error
    steps:   inner steps in training; `evaluation_steps` in evaluation, 0 allowed (None: as many as in training)
    rate:    the inner rate alpha; `rates` says whether it is "one" number, one a "layer" or one for each entry of a
             "parameter", `learn_rates` whether it is learned with theta
    order:   2: the outer gradient passes through the inner slopes; 1: it takes them for constants
    adapts:  which parameters step: "all", "head", or prefixes of their names; what is frozen (requires_grad=False) when
             the learner is made never does
    engine:  how `losses` are computed. "loop" takes one task after the other; "vmap" takes `chunk_size` at once (None:
             all); "stacked" is for plain perceptrons, and the fastest. "auto": stacked where it fits, else loop on a
             CPU (whose convolutions are slower when grouped by task) and vmap on a GPU. `adapt`, and all of Reptile,
             loop where they do not stack
    features: D, where the net does not tell;  seed: draws the head

    Raises ValueError on settings that cannot be, and on a net that cannot be adapted functionally.
    """

    def __init__(
        self,
        net: nn.Module,
        ways: int | None = None,
        *,
        steps: int = 1,
        rate: float = 0.01,
        order: int = 2,
        adapts: str | Sequence[str] = "all",
        rates: str = "one",
        learn_rates: bool = False,
        evaluation_steps: int | None = None,
        engine: str = "auto",
        chunk_size: int | None = None,
        features: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        _check(steps, evaluation_steps, order, engine, chunk_size)
        self.net, self.ways, self.steps, self.order, self.adapts = net, ways, steps, order, adapts
        self.evaluation_steps, self.engine, self.chunk_size = evaluation_steps, engine, chunk_size
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.head = None if ways is None else nn.Linear(features or width(net), ways)
        if self.head is not None and (like := next(net.parameters(), None)) is not None:
            self.head.to(like.device, like.dtype)
        self._g = FunctionalNet(net, self.head)
        self._mlp = StackedMLP(net, self.head) if StackedMLP.fits(net) else None
        if engine == "stacked" and self._mlp is None:
            raise ValueError(
                "the stacked engine is for an nn.Sequential of Linear layers with ReLU or Tanh between them"
            )
        self._names = [name for name, _ in self.named_parameters()]  # theta: the rates are not part of it
        self._readers = {name: attrgetter(name) for name in self._names}  # `get_parameter` takes thrice as long
        self.fast = [name for name in chosen(self._names, adapts) if self.get_parameter(name).requires_grad]
        if not self.fast:
            raise ValueError(f"adapts={adapts!r} names frozen parameters alone: requires_grad says which may step")
        self.alpha = InnerRates({name: self.get_parameter(name) for name in self.fast}, rate, rates, learn_rates)

    def extra_repr(self) -> str:
        return (
            f"ways={self.ways}, steps={self.steps}, order={self.order}, adapts={self.adapts!r}, "
            f"evaluation_steps={self.evaluation_steps}"
        )

    @property
    def transductive(self) -> bool:
        """Whether a prediction depends on the task's other queries (through batch statistics)."""
        own = getattr(self.net, "transductive", None)  # Conv4 knows
        norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        return any(isinstance(module, norms) for module in self.net.modules()) if own is None else own

    def theta(self) -> Parameters:
        """The start, by name."""
        return {name: read(self) for name, read in self._readers.items()}

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Adapted:
        """phi of each task, after the inner steps on its support [T, S, *x].

        Raises ValueError on labels that this learner was not built for, FloatingPointError where the rate diverges.
        """
        self._require_targets(support_y)
        require_tasks(len(support_x), support_y=support_y)
        steps = self.steps if self.training or self.evaluation_steps is None else self.evaluation_steps
        order = self.order if self.training and torch.is_grad_enabled() else 0
        return self._adapt(support_x, support_y, steps, order)

    def predict(self, adapted: Adapted, query_x: Tensor) -> Tensor:
        """Logits [T, Q, N], or predictions [T, Q, d], of the queries [T, Q, *x] of the tasks that were adapted to."""
        theta = self.theta()
        require_tasks(len(adapted.statistics), query_x=query_x)
        if self._engine(query_x) == "stacked":
            return self._mlp(theta | adapted.parameters, query_x)
        each = unstack(adapted.parameters)
        return torch.stack([self._g(theta | p, x, s) for p, x, s in zip(each, query_x, adapted.statistics)])

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """y = f(D_train, x) for T tasks: logits [T, Q, N], or predictions [T, Q, d]."""
        return self.predict(self.adapt(support_x, support_y), query_x)

    def losses(self, episodes: Episodes) -> Tensor:
        """One loss a task [T], to learn theta by."""
        raise NotImplementedError

    def _adapt(
        self, x: Tensor, y: Tensor, steps: int, order: int, start: Parameters | None = None, watch: Watch | None = None
    ) -> Adapted:
        """phi after `steps` steps from `start` ([T, *shape] by name; None: theta); `watch` as in `descend`."""
        theta, alpha, watch = self.theta(), self.alpha(), watch or self._watch
        with torch.set_grad_enabled(order > 0):
            if self._engine(x) == "stacked":
                slopes = stacked_slopes(self._mlp, theta, x, y, order)
                start = start or {name: theta[name].expand(len(x), *theta[name].shape) for name in self.fast}
                return Adapted(descend(slopes, start, alpha, steps, watch), [None] * len(x))
            starts = unstack(start) if start else [{}] * len(x)
            each = [
                self._adapt_one(theta | own, alpha, *task, steps, lambda loss: autograd_slopes(loss, order), watch)
                for own, *task in zip(starts, x, y)
            ]
        parameters = {name: torch.stack([phi[name] for phi, _ in each]) for name in self.fast}
        return Adapted(parameters, [statistics for _, statistics in each])

    def _adapt_one(self, theta, alpha, x, y, steps, slopes, watch=None) -> tuple[Parameters, Statistics | None]:
        """One task's phi, from its support x [S, *x], y [S]; and what normalises its queries."""
        start = {name: theta[name] for name in self.fast}
        if all(name.startswith("head.") for name in self.fast):  # the features stand still: computed once
            z, statistics = self._g.embed(theta, x)
            phi = descend(slopes(lambda phi: task_loss(self._g.outputs(theta | phi, z), y)), start, alpha, steps, watch)
        else:
            phi = descend(slopes(lambda phi: task_loss(self._g(theta | phi, x), y)), start, alpha, steps, watch)
            statistics = self._g.embed(theta | phi, x)[1] if self._support_normalises() else None
        return phi, statistics if self._support_normalises() else None

    def _support_normalises(self) -> bool:
        return isinstance(self.net, Conv4) and not self.transductive

    def _engine(self, x: Tensor) -> str:
        if self._mlp is not None and self.engine in ("auto", "stacked") and x.dim() == 3:
            return "stacked"
        if self.engine != "auto":
            return self.engine
        return "loop" if x.device.type == "cpu" else "vmap"

    def _watch(self, step: int, value: Tensor) -> None:
        if not torch.isfinite(value).all():
            require_finite(step, value, self.alpha.largest())

    def _require_targets(self, y: Tensor | None) -> None:
        wants = "targets [T, S, d]" if self.ways is None else f"class ids 0..{self.ways - 1}"
        if y is None or (self.ways is None) != y.is_floating_point():
            given = "no labels" if y is None else f"{y.dtype} of shape {tuple(y.shape)}"
            raise ValueError(f"this learner steps on {wants}, but the support holds {given}")
        if self.ways is not None and int(y.max()) >= self.ways:
            raise ValueError(f"this learner was built for {wants}, but the support holds class {int(y.max())}")


def require_tasks(tasks: int, **given: Tensor) -> None:
    """Raise ValueError where one of the `given` [T, ...] holds another number of tasks."""
    for name, tensor in given.items():
        if len(tensor) != tasks:
            raise ValueError(f"{name} holds {len(tensor)} tasks, but there are {tasks} to go with it")


def unstack(parameters: Parameters) -> list[Parameters]:
    """[T, *shape] by name -> one dict a task."""
    return [dict(zip(parameters, own)) for own in zip(*parameters.values())]


def _check(steps: int, evaluation_steps: int | None, order: int, engine: str, chunk_size: int | None) -> None:
    if steps < 1:
        raise ValueError(f"{steps} inner steps adapt nothing: training needs at least 1 (evaluation_steps may be 0)")
    if evaluation_steps is not None and evaluation_steps < 0:
        raise ValueError(f"evaluation_steps must be 0 or more, but is {evaluation_steps}")
    if order not in (1, 2):
        raise ValueError(f"order must be 1 (inner slopes are constants) or 2 (they are differentiated), but is {order}")
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, but is {engine!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1 task, but is {chunk_size}")
