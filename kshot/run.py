"""The state of one training: everything that an interrupted run needs to go on exactly."""

import math
import operator
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from kshot import checkpoint as checkpoints
from kshot.episodes import TaskDistribution
from kshot.scores import Result, place
from kshot.settings import difference, other_data


@dataclass
class History:
    """What happened while training: the loss of every step, validation scores by step, CPU time in seconds.

    `best_step` is the step whose weights were kept: the best validation score, the earliest of equals.
    """

    losses: list[float] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    best_step: int | None = None
    finished: bool = False


class Run:
    """A training under way. `whole` says whether its state is that of a step's end, and so may be saved."""

    def __init__(
        self,
        learner: nn.Module,
        steps: int,
        batch: int,
        learning_rate: float,
        schedule: str,
        combine: Callable[[Tensor], Tensor],
        seed: int,
    ):
        if schedule not in ("constant", "cosine"):
            raise ValueError(f'schedule must be "constant" or "cosine", but is {schedule!r}')
        self.learner, self.steps, self.batch, self.combine = learner, steps, batch, combine
        self.learning_rate, self.schedule = learning_rate, schedule
        self.optimiser = torch.optim.Adam(learner.parameters(), lr=learning_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.history, self.whole = 0, History(), True
        self.best: dict[str, Tensor] | None = None
        self.best_score = -math.inf

    def advance(self, tasks: TaskDistribution) -> float:
        """One step; returns its loss. An interruption before the weights move leaves the state of the step before."""
        started, random = time.process_time(), self.generator.get_state()
        statistics = [buffer.clone() for buffer in self.learner.buffers()]
        self.learner.train()
        try:
            loss = self._backward(tasks)
        except BaseException:
            self.generator.set_state(random)
            for buffer, before in zip(self.learner.buffers(), statistics):
                buffer.copy_(before)
            raise
        self.whole = False
        self.optimiser.step()
        self.step += 1
        self.history.losses.append(float(f"{loss:.5g}"))  # a checkpoint of a small net would be mostly digits
        self.history.cpu_seconds += time.process_time() - started
        self.whole = True
        return loss

    def _backward(self, tasks: TaskDistribution) -> float:
        if self.schedule == "cosine":
            fraction = self.step / self.steps
            self.optimiser.param_groups[0]["lr"] = self.learning_rate * (1 + math.cos(math.pi * fraction)) / 2
        episodes = place(tasks.sample(self.batch, self.generator), self.learner)
        loss = self.combine(self.learner.losses(episodes))
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.step + 1}: try a learning rate of {self.learning_rate / 10:g}"
            )
        self.optimiser.zero_grad()
        loss.backward()
        return loss.item()

    def judge(self, result: Result) -> None:
        """Note a validation result, and keep the weights if it is the best so far."""
        self.history.validation[self.step] = result.mean
        rank = result.mean if result.percent else -result.mean
        if rank > self.best_score:
            self.best_score, self.history.best_step = rank, self.step
            self.best = {name: tensor.detach().clone() for name, tensor in self.learner.state_dict().items()}

    def summary(self) -> str:
        """The recent loss and the last validation score, for a progress bar."""
        recent = self.history.losses[-50:]
        text = f"loss {sum(recent) / len(recent):.3f}"
        if self.history.validation:
            text += f", validation {list(self.history.validation.values())[-1]:.3f}"
        return text

    def save(self, path: Path, settings: dict) -> None:
        """Write the whole state to `path`."""
        tensors = {f"learner/{name}": tensor for name, tensor in self.learner.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (self.best or {}).items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
        tensors["generator"] = self.generator.get_state()
        note = {"settings": settings, "step": self.step, "history": asdict(self.history)}
        if self.best is not None:
            note["best_score"] = self.best_score
        checkpoints.save(path, tensors, note)

    def restore(self, path: Path, settings: dict) -> None:
        """Take up the state at `path`; raises CheckpointError where it was made with other settings."""
        tensors, note = checkpoints.read(path)
        require_same(path, note.get("settings", {}), settings)
        groups: dict[str, dict] = {"learner": {}, "best": {}, "adam": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            if rest:
                groups[group][rest] = tensor
        self.learner.load_state_dict(groups["learner"])
        self.best = groups["best"] or None
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in groups["adam"].items():
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = tensor
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.generator.set_state(tensors["generator"])
        self.step, self.best_score = note["step"], note.get("best_score", -math.inf)
        self.history = history_of(note["history"])


def require_same(path: Path, stored: dict, wanted: dict) -> None:
    """Raise CheckpointError, naming the difference, unless the settings are the same."""
    if not stored:
        raise checkpoints.CheckpointError(
            f"{path.name} does not say with what settings it was made: give another checkpoint name, or delete it"
        )
    differing = difference(stored, wanted)
    if differing:
        data = other_data(stored, wanted)
        made = f"trained on other data ({data})" if data else f"made with other settings: {differing}"
        more = f". What differs: {differing}" if data else ""
        raise checkpoints.CheckpointError(
            f"{path.name} was {made}. Give another checkpoint name, or delete the file{more}"
        )


def history_of(stored: dict) -> History:
    """The History that a checkpoint's metadata holds."""
    validation = {int(step): value for step, value in stored.get("validation", {}).items()}
    rest = {name: stored[name] for name in ("cpu_seconds", "best_step", "finished") if name in stored}
    return History(list(stored.get("losses", [])), validation, **rest)


def check_arguments(steps: int, batch: int, validate_every: int, validation_episodes: int) -> None:
    """Raise ValueError or TypeError, in a sentence, for counts that no training can have."""
    counts = dict(steps=steps, batch=batch, validate_every=validate_every, validation_episodes=validation_episodes)
    for name, value in counts.items():
        try:
            whole = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be a whole number, but is {value!r}") from None
        least = 0 if name == "steps" else 2 if name == "validation_episodes" else 1
        if whole < least:
            raise ValueError(f"{name} must be at least {least}, but is {value}")
