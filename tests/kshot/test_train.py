"""Training resumes to the same numbers, loads what it made, and refuses what it did not."""

import os
import re

import pytest
import torch
from torch import nn

import kshot
from kshot import Conv4, Episodes, FewShot, Prototypical, Result, checkpoint, evaluate, fit
from kshot.train import partial


@pytest.fixture(scope="module")
def images():
    """Twelve easily told characters: each a bright square at its own place, with noise."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(60, (12, 6, 1, 28, 28), generator=generator, dtype=torch.uint8)
    for c in range(12):
        images[c, :, :, 7 * (c // 4) : 7 * (c // 4) + 8, 6 * (c % 4) : 6 * (c % 4) + 8] += 150
    return images


def tasks(images, ways=4):
    return FewShot(images, ways, 1, 2)


def learner():
    return Prototypical(Conv4(8))


def run(images, **changes):
    settings = dict(steps=24, validation=tasks(images), validate_every=6, validation_episodes=10, progress=False)
    built = learner()
    history = fit(built, tasks(images), **(settings | changes))
    return built, history


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_training_learns(images):
    floor = evaluate(learner(), tasks(images), 60)
    trained, history = run(images, steps=40)
    gain = evaluate(trained, tasks(images), 60) - floor
    assert gain.mean - gain.interval > 0.02
    assert len(history.losses) == 40 and history.finished and history.best_step in history.validation


def test_an_interrupted_run_ends_at_the_numbers_of_an_undisturbed_one(images, tmp_path, capsys):
    whole, history = run(images, checkpoint=tmp_path / "whole.safetensors", schedule="cosine")
    path = tmp_path / "broken.safetensors"
    _, first = run(images, checkpoint=path, schedule="cosine", on_step=lambda step, loss: step < 11)
    assert not first.finished and partial(path).exists() and not path.exists()
    resumed, second = run(images, checkpoint=path, schedule="cosine")
    assert "continuing from step 11 of 24" in capsys.readouterr().out
    assert second.losses == history.losses and second.validation == history.validation
    assert same_weights(whole, resumed)
    assert not partial(path).exists()


class Interrupted:
    """Tasks that are interrupted once, while drawing the given time."""

    def __init__(self, tasks, draw):
        self._tasks, self._left = tasks, draw

    def sample(self, n, generator):
        episodes = self._tasks.sample(n, generator)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return episodes


class InterruptedLoss(Prototypical):
    """A learner that is interrupted once, in the middle of a loss."""

    left = 9

    def losses(self, episodes):
        found = super().losses(episodes)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return found


@pytest.mark.parametrize("place", ["sample", "losses", "validation", "on_step", "the last step"])
def test_an_interruption_anywhere_loses_nothing(images, tmp_path, place):
    path = tmp_path / "a.safetensors"
    built = InterruptedLoss(Conv4(8, "running"))
    built.left = 9 if place == "losses" else -1
    drawn = Interrupted(tasks(images), 9 if place == "sample" else -1)
    judged = Interrupted(tasks(images), 2 if place == "validation" else -1)
    last = {"on_step": 9, "the last step": 24}.get(place)

    def interrupt(step, loss):
        if step == last:
            raise KeyboardInterrupt

    settings = dict(steps=24, validate_every=6, validation_episodes=10, progress=False, checkpoint=path)
    with pytest.raises(KeyboardInterrupt):
        fit(built, drawn, validation=judged, on_step=interrupt, **settings)
    again = InterruptedLoss(Conv4(8, "running", seed=0))
    again.left = -1
    history = fit(again, Interrupted(tasks(images), -1), validation=Interrupted(tasks(images), -1), **settings)
    whole = InterruptedLoss(Conv4(8, "running"))
    whole.left = -1
    expected = fit(whole, tasks(images), validation=tasks(images), **(settings | dict(checkpoint=None)))
    assert history.losses == expected.losses and history.validation == expected.validation
    assert same_weights(again, whole)


def test_a_killed_process_keeps_what_was_saved(images, tmp_path, monkeypatch):
    """Killed outright, nothing runs at the end: only the saving by the clock helps."""
    monkeypatch.setattr("kshot.train.SAVE_EVERY", -1)
    path = tmp_path / "a.safetensors"
    kept = {}

    def look(step, loss):
        if partial(path).exists():
            kept[step] = checkpoint.read(partial(path))[1]["step"]

    run(images, checkpoint=path, validation=None, on_step=look)
    assert kept and all(saved == step - 1 for step, saved in kept.items())


def test_an_error_is_ranked_downwards(images):
    class Constant(nn.Linear):
        """Predicts its bias: the loss and the score are squared errors to 3."""

        def forward(self, support_x, support_y, query_x):
            return self.bias.expand(*query_x.shape[:2], 1)

        def losses(self, episodes):
            return (self.bias - 3).square().expand(episodes.tasks)

    class Targets:
        def sample(self, n, generator):
            x, y = torch.zeros(n, 2, 1), torch.full((n, 2, 1), 3.0)
            return Episodes(x, y, x, y)

    settings = dict(validation=Targets(), validate_every=5, validation_episodes=4, learning_rate=0.1, progress=False)
    history = fit(Constant(1, 1), Targets(), steps=20, **settings)
    assert history.validation[20] < history.validation[5] and history.best_step == 20


def test_a_complete_checkpoint_is_loaded_instead_of_trained(images, tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    first, history = run(images, checkpoint=path)
    stepped = []
    second, again = run(images, checkpoint=path, on_step=lambda *step: stepped.append(step))
    assert not stepped and "trained before with these settings" in capsys.readouterr().out
    assert same_weights(first, second) and again == history


def test_the_schedule_is_followed(images):
    built = learner()
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    moved = []

    def look(step, loss):
        now = built.state_dict()
        moved.append(max((now[name] - before[name]).abs().max().item() for name in now))
        before.update({name: tensor.clone() for name, tensor in now.items()})

    fit(built, tasks(images), steps=20, schedule="cosine", on_step=look, progress=False)
    assert moved[0] == pytest.approx(1e-3, rel=0.05), "Adam's first step is the learning rate"
    assert moved[-1] < 0.05 * moved[0], "the last of twenty steps of a cosine is nearly nothing"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.001, is 0.5"),
        ({"steps": 30}, "steps was 24, is 30"),
        ({"seed": 9}, "seed was 0, is 9"),
    ],
)
def test_other_settings_are_an_error_that_names_them(images, tmp_path, changes, named):
    path = tmp_path / "a.safetensors"
    run(images, checkpoint=path)
    with pytest.raises(checkpoint.CheckpointError, match=named):
        run(images, checkpoint=path, **changes)


@pytest.mark.parametrize(
    ("built", "named"),
    [
        (lambda: Prototypical(Conv4(8, "transductive")), "transductive"),
        (lambda: Prototypical(Conv4(8, pools=(True, True, False, False))), "pools"),
        (lambda: Prototypical(Conv4(8, seed=7)), "seed=7"),
    ],
)
def test_another_learner_is_an_error_that_shows_where_it_differs(images, tmp_path, built, named):
    path = tmp_path / "a.safetensors"
    settings = dict(steps=2, checkpoint=path, progress=False)
    fit(learner(), tasks(images), **settings)
    with pytest.raises(checkpoint.CheckpointError, match=f"learner was .*is .*{named}"):
        fit(built(), tasks(images), **settings)


def test_other_images_and_another_combine_are_errors(images, tmp_path):
    path = tmp_path / "a.safetensors"
    settings = dict(steps=2, checkpoint=path, progress=False)
    fit(learner(), tasks(images), combine=lambda losses: losses.mean(), **settings)
    with pytest.raises(checkpoint.CheckpointError, match=r"tasks.images was uint8 \[12.* is as large, but holds other"):
        fit(learner(), tasks(images.flip(0)), combine=lambda losses: losses.mean(), **settings)
    with pytest.raises(checkpoint.CheckpointError, match="combine was"):
        fit(learner(), tasks(images), combine=lambda losses: losses.sum() * 100, **settings)


def test_other_characters_are_said_in_words_and_the_hashes_last(images, tmp_path):
    settings = dict(steps=2, checkpoint=tmp_path / "mine.safetensors", progress=False)
    fit(learner(), tasks(images), **settings)
    with pytest.raises(checkpoint.CheckpointError) as fewer:
        fit(learner(), tasks(images[:10]), **settings)
    said = str(fewer.value)
    assert said.startswith("mine.safetensors was trained on other data (12 characters then, 10 now). Give another")
    assert re.search(r"\(SHA-256: tasks.images [0-9a-f]{12}, [0-9a-f]{12}\)$", said)
    assert not re.search("[0-9a-f]{12}", said.partition(" (SHA-256")[0])
    with pytest.raises(checkpoint.CheckpointError, match=r"other data \(12 characters then and now, drawn otherwise\)"):
        fit(learner(), tasks(images.flip(0)), **settings)
    with pytest.raises(checkpoint.CheckpointError, match=r"made with other settings: steps was 2, is 3\. Give"):
        fit(learner(), tasks(images), **(settings | {"steps": 3}))


def test_other_tasks_are_an_error_that_names_them(images, tmp_path):
    path = tmp_path / "a.safetensors"
    run(images, checkpoint=path)
    with pytest.raises(checkpoint.CheckpointError, match=r"tasks.ways was 4, is 3"):
        fit(learner(), tasks(images, ways=3), steps=24, validation=tasks(images), validate_every=6,
            validation_episodes=10, checkpoint=path, progress=False)  # fmt: skip


def test_the_best_weights_by_validation_are_kept(images):
    class Spoiled:
        """Validation tasks that are good only early: later draws have random labels."""

        draws = 0

        def sample(self, n, generator):
            episodes = tasks(images).sample(n, generator)
            self.draws += 1
            if self.draws <= 1:
                return episodes
            wrong = (episodes.query_y + 1) % 4
            return Episodes(episodes.support_x, episodes.support_y, episodes.query_x, wrong)

    kept, history = run(images, validation=Spoiled())
    assert history.best_step == 6
    early, _ = run(images, validation=None, steps=6)
    assert same_weights(kept, early)


def test_a_loss_that_is_not_finite_names_step_and_rate(images, tmp_path):
    class Broken(nn.Linear):
        def losses(self, episodes):
            return self.weight.sum() * torch.tensor([float("inf")])

    path = tmp_path / "a.safetensors"
    with pytest.raises(FloatingPointError, match=r"at step 1: try a learning rate of 0.0001"):
        fit(Broken(1, 1), tasks(images), steps=2, progress=False, checkpoint=path)
    assert not list(tmp_path.iterdir()), "nothing binds the next try to the rate that failed"


def test_on_a_grader_nothing_is_trained(images, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    trained, _ = run(images, checkpoint=path)
    monkeypatch.setenv("KSHOT_GRADING", "1")
    with pytest.warns(UserWarning, match="trained with other settings: steps was 24, is 1000"):
        loaded, _ = run(images, checkpoint=path, steps=1000)
    assert same_weights(loaded, trained)
    with pytest.raises(FileNotFoundError, match="no checkpoint was submitted"):
        run(images, checkpoint=tmp_path / "none.safetensors")


def test_evaluation_is_paired_by_seed_and_leaves_the_mode(images):
    a, b = learner().train(), kshot.PixelNeighbour()
    first, second = evaluate(a, tasks(images), 30, seed=4), evaluate(a, tasks(images), 30, seed=4)
    assert torch.equal(first.values, second.values) and a.training
    assert not torch.equal(first.values, evaluate(a, tasks(images), 30, seed=5).values)
    paired = first - evaluate(b, tasks(images), 30, seed=4)
    assert torch.equal(paired.values, first.values - evaluate(b, tasks(images), 30, seed=4).values)
    with pytest.raises(ValueError, match="cannot be paired"):
        _ = first - evaluate(b, tasks(images), 20, seed=4)
    with pytest.raises(ValueError, match="seeds 4 and 5 cannot be paired"):
        _ = first - evaluate(b, tasks(images), 30, seed=5)


def test_evaluation_draws_fresh_tasks_and_builds_no_graph(images):
    seen = []

    class Watching(Prototypical):
        def forward(self, support_x, support_y, query_x):
            seen.append((torch.is_grad_enabled(), support_x.clone()))
            return super().forward(support_x, support_y, query_x)

    built = Watching(Conv4(8)).train()
    built.net.norms[0].eval()
    scores = evaluate(built, tasks(images), 30).values
    assert not any(grad for grad, _ in seen)
    assert not torch.equal(seen[0][1], seen[1][1]), "each chunk is drawn anew"
    assert torch.equal(evaluate(built, tasks(images), 20).values, scores[:20])
    assert built.training and not built.net.norms[0].training, "every module has its own mode back"


def test_evaluation_and_training_follow_the_learners_precision(images):
    built = learner().double()
    history = fit(built, tasks(images), steps=2, progress=False)
    assert len(history.losses) == 2 and len(evaluate(built, tasks(images), 10).values) == 10


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(steps=-1), "steps must be at least 0"),
        (dict(validate_every=0), "validate_every must be at least 1"),
        (dict(batch=0), "batch must be at least 1"),
        (dict(schedule="linear"), '"constant" or "cosine"'),
    ],
)
def test_unusable_arguments(images, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(images, **changes)
    with pytest.raises(TypeError, match="steps must be a whole number"):
        run(images, steps=2.5)


def test_result_prints_mean_and_interval():
    result = Result(torch.tensor([0.0, 1.0] * 50))
    assert str(result) == "50.0 ± 9.8 %"


def test_a_damaged_checkpoint_says_so(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, learner().state_dict(), {})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(checkpoint.CheckpointError, match="truncated"):
        checkpoint.load(path, learner())


def test_a_checkpoint_of_another_learner_says_so(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, Prototypical(Conv4(16)).state_dict(), {})
    mine = learner()
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    with pytest.raises(checkpoint.CheckpointError, match=r"another learner than this Prototypical.*\(16,.*\(8,"):
        checkpoint.load(path, mine)
    assert all(torch.equal(before[name], tensor) for name, tensor in mine.state_dict().items())
    with pytest.raises(checkpoint.CheckpointError, match="another learner than this Siamese"):
        checkpoint.load(path, kshot.Siamese(Conv4(16), 16))


def test_an_unknown_name_lists_what_is_shipped():
    with pytest.raises(KeyError, match="the course ships"):
        kshot.pretrained("maml_on_the_moon")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, learner().state_dict(), {"n": 1})
    monkeypatch.setattr("kshot.checkpoint.save_file", lambda *a: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError):
        checkpoint.save(path, learner().state_dict(), {"n": 2})
    assert checkpoint.read(path)[1] == {"n": 1}
    assert os.listdir(tmp_path) == ["a.safetensors"]
