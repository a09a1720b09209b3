"""Learners that adapt by gradient descent: MAML and its first-order form, ANIL, Meta-SGD and Reptile.

They differ in which parameters step, at which rates, and in how the start is learned.
"""

from functools import partial

import torch
from torch import Tensor, nn

from kshot import outer
from kshot.curvature import outer_gradient
from kshot.episodes import Episodes
from kshot.functional import task_loss
from kshot.gradient_based import GradientLearner
from kshot.inner import autograd_slopes, functional_slopes


class MAML(GradientLearner):
    """theta is learned so that the loss on the queries is small after the inner steps.

    min over theta of the sum over tasks of L(phi, query) with phi = theta - alpha * grad L(theta, support). Finn et
    al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks" (2017). `order=1` is its first-order form;
    `adapts="head"` is ANIL (Raghu et al., "Rapid Learning or Feature Reuse?", 2020); `rates="parameter",
    learn_rates=True` is Meta-SGD (Li et al., 2017). The settings are those of GradientLearner.
    """

    def losses(self, episodes: Episodes) -> Tensor:
        """The loss on each task's queries after the inner steps, [T].

        Raises FloatingPointError, naming the step, where the inner rate diverges.
        """
        self._require_targets(episodes.support_y)
        tasks = (episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y)
        engine = self._engine(episodes.support_x)
        parameters = [*self.theta().values(), *self.alpha.parameters()]
        if engine == "stacked":
            how = self._written_out
        elif engine == "vmap":
            how = outer.vectorised(partial(self._task_loss, engine), self.chunk_size)
        else:
            how = outer.each_alone(partial(self._task_loss, engine))
        losses = outer.losses(parameters, tasks, how)
        if not torch.isfinite(losses).all():
            self._explain(*tasks)
        return losses

    def _task_loss(self, engine: str, parameters: list[Tensor], support_x, support_y, query_x, query_y) -> Tensor:
        """The loss of one task as a function of theta and the learned rates, in `parameters`."""
        theta = dict(zip(self._names, parameters))
        alpha = self.alpha(parameters[len(theta) :])
        kind, watch = (functional_slopes, None) if engine == "vmap" else (autograd_slopes, self._watch)
        slopes = partial(kind, order=self.order)
        phi, statistics = self._adapt_one(theta, alpha, support_x, support_y, self.steps, slopes, watch)
        return task_loss(self._g(theta | phi, query_x, statistics), query_y)

    def _written_out(self, parameters: list[Tensor], tasks: outer.Task) -> tuple[Tensor, list[Tensor]]:
        """What outer.each_alone gives, for all tasks of a stacked perceptron at once (or `chunk_size` of them)."""
        theta = dict(zip(self._names, parameters))
        alpha = self.alpha(parameters[len(theta) :])
        parts = []
        for chunk in zip(*(each.split(self.chunk_size or len(each)) for each in tasks)):
            values, slopes, of_rates = outer_gradient(
                self._mlp, theta, alpha, self.steps, self.order, chunk, self.alpha.learned
            )
            parts.append((values, *(slopes[name] for name in theta), *self.alpha.collected(of_rates)))
        values, *gradients = parts[0] if len(parts) == 1 else [torch.cat(each) for each in zip(*parts)]
        return values, gradients

    def _explain(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> None:
        with torch.no_grad():
            self._adapt(support_x, support_y, self.steps, 0)  # raises where an inner loss is not finite
        raise FloatingPointError(
            f"the loss on the queries is not finite after {self.steps} inner step{'' if self.steps == 1 else 's'}: "
            f"the inner rate {self.alpha.largest():g} diverges, try {self.alpha.largest() / 10:g}"
        )


class Reptile(GradientLearner):
    """theta is moved towards where the inner steps of each task end: its outer gradient is theta - phi.

    Nichol et al., "On First-Order Meta-Learning Algorithms" (2018). Support and queries are both trained on: step i
    takes every m-th example from the i-th on (m = `minibatches`). With one step this is joint training; what makes it
    meta-learning are the later steps, on other examples than the first. The settings are those of GradientLearner, but
    for `order`, of which there is none; all parameters adapt, at a rate that is not learned.
    """

    def __init__(self, net: nn.Module, ways: int | None = None, *, steps: int = 5, minibatches: int = 2, **settings):
        for name, only in (("order", 1), ("adapts", "all"), ("learn_rates", False)):
            if settings.pop(name, only) != only:
                raise ValueError(f"Reptile has no choice of {name}: it is {only!r}")
        if steps < 2:
            raise ValueError(f"Reptile with {steps} inner step is joint training: it needs at least 2")
        super().__init__(net, ways, steps=steps, order=1, **settings)
        if minibatches < 1:
            raise ValueError(f"minibatches must be at least 1, but is {minibatches}")
        self.minibatches = minibatches

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, minibatches={self.minibatches}"

    def losses(self, episodes: Episodes) -> Tensor:
        """Each task's loss on its last minibatch, before the step on that, [T]; its slope in theta is theta - phi.

        Raises FloatingPointError, naming the step, where the inner rate diverges.
        """
        self._require_targets(episodes.support_y)
        tasks = (episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y)
        return outer.losses(list(self.theta().values()), tasks, self._displacement)

    def _displacement(self, theta: list[Tensor], tasks: outer.Task) -> tuple[Tensor, list[Tensor]]:
        support_x, support_y, query_x, query_y = tasks
        x, y = torch.cat([support_x, query_x], 1), torch.cat([support_y, query_y], 1)
        if self.minibatches > x.shape[1]:
            raise ValueError(f"{x.shape[1]} examples a task cannot make {self.minibatches} minibatches: ask for fewer")
        phi = None
        for step in range(self.steps):
            own = slice(step % self.minibatches, None, self.minibatches)
            seen: list[Tensor] = []  # losses, task by task or of all at once
            phi = self._adapt(x[:, own], y[:, own], 1, 0, phi, partial(_keep, seen)).parameters
            values = torch.cat(seen)
            self._watch(step, values)
        still = {name: start.expand(len(x), *start.shape) for name, start in zip(self._names, theta)}  # what is frozen
        displacement = [start - (still | phi)[name].detach() for name, start in zip(self._names, theta)]
        self._watch(self.steps, torch.stack([each.sum() for each in displacement]))
        return values, displacement


def _keep(seen: list[Tensor], _: int, losses: Tensor) -> None:
    seen.append(losses.reshape(-1))
