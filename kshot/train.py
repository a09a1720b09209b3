"""Meta-training: one loop for every learner."""

import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kshot import checkpoint as checkpoints
from kshot.episodes import TaskDistribution
from kshot.scores import Result, device_of, evaluate
from kshot.settings import describe, difference


@dataclass
class History:
    """What happened while training: the loss of every step, validation scores by step, CPU time in seconds."""

    losses: list[float] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    finished: bool = False

    @property
    def best_step(self) -> int | None:
        """The step with the best validation score, the earliest of equals; None without validation."""
        return max(self.validation, key=self.validation.get) if self.validation else None


def fit(
    learner: nn.Module,
    tasks: TaskDistribution,
    *,
    steps: int,
    batch: int = 1,
    learning_rate: float = 1e-3,
    schedule: str = "constant",
    validation: TaskDistribution | None = None,
    validate_every: int = 200,
    validation_episodes: int = 200,
    combine: Callable[[Tensor], Tensor] = torch.mean,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    on_step: Callable[[int, float], bool | None] | None = None,
    progress: bool = True,
) -> History:
    """Train `learner` on `batch` tasks a step with Adam, and leave it with its best weights.

    learner.losses(episodes) -> [T] gives one loss a task; `combine` reduces them to the number that is minimised.
    `schedule` is "constant" or "cosine" (down to zero). With `validation`, the weights of the best validation score
    are kept (an accuracy: higher is better; an error: lower); without, the last.

    With `checkpoint`, an interrupted run continues to the numbers of an undisturbed one, and a complete run is
    loaded instead of trained. `on_step(step, loss)` is called after each step; returning False stops the training,
    to be continued by the same call. On a grader (KSHOT_GRADING=1) a checkpoint is loaded and nothing is trained.

    Raises CheckpointError where the checkpoint was made with other settings (naming the difference) or cannot be
    read, FloatingPointError where the loss is no longer finite.
    """
    settings = {
        "learner": describe(learner),
        "tasks": describe(tasks),
        "validation": describe(validation),
        **dict(steps=steps, batch=batch, learning_rate=learning_rate, schedule=schedule, seed=seed),
        **dict(validate_every=validate_every, validation_episodes=validation_episodes, combine=describe(combine)),
    }
    if os.environ.get("KSHOT_GRADING"):
        return _load_only(learner, checkpoint, settings)
    run = _Run(learner, steps, batch, learning_rate, schedule, combine, seed)
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        done = _load_finished(learner, checkpoint, settings)
        if done is not None:
            return done
        run.resume(partial(checkpoint), settings)

    bar = _progress_bar(steps, run.step, progress)
    learner.train()
    try:
        while run.step < steps:
            loss = run.advance(tasks)
            if validation is not None and (run.step % validate_every == 0 or run.step == steps):
                run.judge(evaluate(learner, validation, validation_episodes, seed=seed + 1))
                if checkpoint is not None:
                    run.save(partial(checkpoint), settings)
            bar.update(1)
            if run.step % 10 == 0:
                bar.set_postfix_str(run.summary(), refresh=False)
            if on_step is not None and on_step(run.step, loss) is False:
                break
    finally:
        bar.close()
        if checkpoint is not None and run.step < steps:
            run.save(partial(checkpoint), settings)
    run.history.finished = run.step == steps
    if run.best is not None:
        learner.load_state_dict(run.best)
    if checkpoint is not None and run.history.finished:
        checkpoints.save(checkpoint, learner.state_dict(), {"settings": settings, "history": asdict(run.history)})
        partial(checkpoint).unlink(missing_ok=True)
    learner.eval()
    return run.history


def partial(checkpoint: Path) -> Path:
    """Where an unfinished run keeps its state, beside the checkpoint it will become."""
    return checkpoint.with_suffix(".partial.safetensors")


class _Run:
    """The state of a training: everything that an interrupted run needs to go on exactly."""

    def __init__(self, learner, steps, batch, learning_rate, schedule, combine, seed):
        if schedule not in ("constant", "cosine"):
            raise ValueError(f'schedule must be "constant" or "cosine", but is {schedule!r}')
        self.learner, self.steps, self.batch, self.combine = learner, steps, batch, combine
        self.learning_rate, self.schedule = learning_rate, schedule
        self.optimiser = torch.optim.Adam(learner.parameters(), lr=learning_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device_of(learner)
        self.step, self.history = 0, History()
        self.best: dict[str, Tensor] | None = None
        self.best_score = -math.inf
        self.started = time.process_time()

    def advance(self, tasks: TaskDistribution) -> float:
        """One step; returns its loss."""
        if self.schedule == "cosine":
            fraction = self.step / self.steps
            self.optimiser.param_groups[0]["lr"] = self.learning_rate * (1 + math.cos(math.pi * fraction)) / 2
        episodes = tasks.sample(self.batch, self.generator).to(self.device)
        loss = self.combine(self.learner.losses(episodes))
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.step + 1}: try a learning rate of {self.learning_rate / 10:g}"
            )
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self.history.losses.append(loss.item())
        now = time.process_time()
        self.history.cpu_seconds += now - self.started
        self.started = now
        return self.history.losses[-1]

    def judge(self, result: Result) -> None:
        """Note a validation result and keep the weights if they are the best so far."""
        self.history.validation[self.step] = result.mean
        rank = result.mean if result.percent else -result.mean
        if rank > self.best_score:
            self.best_score = rank
            self.best = {name: tensor.detach().clone() for name, tensor in self.learner.state_dict().items()}

    def summary(self) -> str:
        recent = self.history.losses[-50:]
        text = f"loss {sum(recent) / len(recent):.3f}"
        if self.history.validation:
            text += f", validation {list(self.history.validation.values())[-1]:.3f}"
        return text

    def save(self, path: Path, settings: dict) -> None:
        tensors = {f"learner/{name}": tensor for name, tensor in self.learner.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (self.best or {}).items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
        tensors["generator"] = self.generator.get_state()
        note = {"settings": settings, "step": self.step, "best_score": self.best_score, "history": asdict(self.history)}
        checkpoints.save(path, tensors, note)

    def resume(self, path: Path, settings: dict) -> None:
        if not path.exists():
            return
        tensors, note = checkpoints.read(path)
        _require_same(path, note.get("settings", {}), settings)
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
        self.step, self.best_score = note["step"], note["best_score"]
        self.history = _history(note["history"])
        print(f"continuing from step {self.step} of {self.steps} ({path.name})")


def _load_finished(learner: nn.Module, path: Path, settings: dict[str, Any]) -> History | None:
    if not path.exists():
        return None
    _, metadata = checkpoints.read(path)
    _require_same(path, metadata.get("settings", {}), settings)
    checkpoints.load(path, learner)
    learner.eval()
    print(f"loaded {path.name}: trained before with these settings, so not trained again")
    return _history(metadata["history"])


def _load_only(learner: nn.Module, path: Path | str | None, settings: dict[str, Any]) -> History:
    """On a grader: load what was submitted, say where its settings differ, never train."""
    if path is None or not Path(path).exists():
        raise FileNotFoundError("nothing is trained while grading, and no checkpoint was submitted for this training")
    metadata = checkpoints.load(path, learner)
    learner.eval()
    differing = difference(metadata.get("settings", {}), settings)
    if differing:
        warnings.warn(f"{Path(path).name} was trained with other settings: {differing}", stacklevel=3)
    return _history(metadata.get("history", {}))


def _require_same(path: Path, stored: dict, wanted: dict) -> None:
    differing = difference(stored, wanted)
    if differing:
        raise checkpoints.CheckpointError(
            f"{path.name} was made with other settings: {differing}. Give another checkpoint name, or delete the file"
        )


def _history(stored: dict) -> History:
    validation = {int(step): value for step, value in stored.get("validation", {}).items()}
    rest = {name: stored[name] for name in ("cpu_seconds", "finished") if name in stored}
    return History(list(stored.get("losses", [])), validation, **rest)


def _progress_bar(steps: int, done: int, wanted: bool):
    try:
        from tqdm.auto import tqdm
    except ImportError:  # the core needs only torch, numpy and safetensors
        return _NoBar()
    return tqdm(total=steps, initial=done, disable=not wanted, unit="step")


class _NoBar:
    def update(self, steps: int) -> None: ...

    def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...

    def close(self) -> None: ...
