"""Meta-training: one loop for every learner."""

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kshot import checkpoint as checkpoints
from kshot.episodes import TaskDistribution
from kshot.run import History, Run, check_arguments, history_of, require_same
from kshot.scores import evaluate
from kshot.settings import describe, difference

SAVE_EVERY = 20  # seconds that a killed process may lose


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

    With `checkpoint`, an interrupted run continues (on a CPU to the numbers of an undisturbed one; a killed process
    loses at most some seconds), and a complete run is loaded instead of trained. The settings must match; the weights
    that a training starts from are not compared. `on_step(step, loss)` is called after each step; returning False
    stops the training, to be continued by the same call. On a grader (KSHOT_GRADING=1) a checkpoint is loaded and
    nothing is trained.

    Raises CheckpointError where the checkpoint was made with other settings (naming the difference) or cannot be
    read, FloatingPointError where the loss is no longer finite.
    """
    check_arguments(steps, batch, validate_every, validation_episodes)
    settings = {
        "learner": describe(learner),
        "tasks": describe(tasks),
        "validation": describe(validation),
        **dict(steps=steps, batch=batch, learning_rate=learning_rate, schedule=schedule, seed=seed),
        **dict(validate_every=validate_every, validation_episodes=validation_episodes, combine=describe(combine)),
    }
    if os.environ.get("KSHOT_GRADING"):
        return _load_only(learner, checkpoint, settings)
    run = Run(learner, steps, batch, learning_rate, schedule, combine, seed)
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        done = _load_finished(learner, checkpoint, settings)
        if done is not None:
            return done
        if partial(checkpoint).exists():
            run.restore(partial(checkpoint), settings)
            print(f"continuing from step {run.step} of {steps} ({checkpoint.name})")

    def keep() -> None:
        if checkpoint is not None and run.whole:
            run.save(partial(checkpoint), settings)

    def validate() -> None:
        due = validation is not None and run.step > 0 and (run.step % validate_every == 0 or run.step == steps)
        if due and run.step not in run.history.validation:
            run.judge(evaluate(learner, validation, validation_episodes, seed=seed + 1))
            keep()

    bar = _progress_bar(steps, run.step, progress)
    saved = time.monotonic()
    try:
        validate()  # where the interruption came between a step and its validation
        while run.step < steps:
            loss = run.advance(tasks)
            stop = on_step is not None and on_step(run.step, loss) is False
            validate()
            bar.update(1)
            if run.step % 10 == 0:
                bar.set_postfix_str(run.summary(), refresh=False)
            if time.monotonic() - saved > SAVE_EVERY:
                keep()
                saved = time.monotonic()
            if stop:
                break
    except FloatingPointError:
        if checkpoint is not None:  # leave nothing that would bind the next try to the rate that failed
            partial(checkpoint).unlink(missing_ok=True)
        raise
    except BaseException:
        keep()
        raise
    finally:
        bar.close()
    run.history.finished = run.step == steps
    if not run.history.finished:
        keep()
    if run.best is not None:
        learner.load_state_dict(run.best)
    if checkpoint is not None and run.history.finished:
        checkpoints.save(checkpoint, learner.state_dict(), {"settings": settings, "history": asdict(run.history)})
        partial(checkpoint).unlink(missing_ok=True)
    learner.eval()
    return run.history


def partial(checkpoint: Path) -> Path:
    """Where an unfinished run keeps its state, beside the checkpoint it will become."""
    return checkpoint.with_name(f"{checkpoint.name}.partial")


def _load_finished(learner: nn.Module, path: Path, settings: dict[str, Any]) -> History | None:
    if not path.exists():
        return None
    _, metadata = checkpoints.read(path)
    require_same(path, metadata.get("settings", {}), settings)
    checkpoints.load(path, learner)
    learner.eval()
    print(f"loaded {path.name}: trained before with these settings, so not trained again")
    return history_of(metadata.get("history", {}))


def _load_only(learner: nn.Module, path: Path | str | None, settings: dict[str, Any]) -> History:
    """On a grader: load what was submitted, say where its settings differ, never train."""
    if path is None or not Path(path).exists():
        raise FileNotFoundError("nothing is trained while grading, and no checkpoint was submitted for this training")
    metadata = checkpoints.load(path, learner)
    learner.eval()
    differing = difference(metadata.get("settings", {}), settings)
    if differing:
        warnings.warn(f"{Path(path).name} was trained with other settings: {differing}", stacklevel=3)
    return history_of(metadata.get("history", {}))


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
