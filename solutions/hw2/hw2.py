# ---
# jupyter:
#   homework:
#     points: 25
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [raw]
# # ASSIGNMENT CONFIG
# name: hw2
# tests:
#   ok_format: false
# export_cell:
#   pdf: false
#   files: [hw2_protonet.safetensors]
#   instructions: The zip holds this notebook and, once you have them, the weights of question 4. Hand it in as it is.
# generate: true
# python_version: "3.11"
# requirements: [torch, numpy, safetensors, matplotlib]

# %% [markdown]
# # Homework 2: learn to compare
#
# Somebody shows you five characters you have never seen, one drawing of each. Then a sixth drawing: which of the five
# is it? You answer at a glance. In this homework you build a learner that does too.
#
# You write three short functions, wire them into a *prototypical network*, train it for a few minutes, and hand in its
# weights. They are graded on alphabets that were invented after you handed in: nobody can have trained on them.
#
# | question | what you do | points |
# |---|---|---|
# | 1 | `prototypes`: one point that stands for a class | 5 |
# | 2 | `logits`: how well each query fits each class | 5 |
# | 3 | `loss_and_accuracy`: what training lowers, and what you care about | 4 |
# | 4 | train, and hand in `hw2_protonet.safetensors` | 8 |
# | 5 | where it breaks, in your own words | 3 |
#
# After each question `grader.check` runs the public tests and tells you what to look at. Hidden tests ask the same
# things of other inputs. The package `kshot` holds functions much like those you are asked for; write your own.

# %%
import matplotlib.pyplot as plt
import torch

import kshot
from kshot.learners.metric import Metric
from kshot.see import PALETTE

device = "cuda" if torch.cuda.is_available() else "cpu"
print("training will run on:", device)

# %% [markdown]
# ## The data
#
# **Glyphs** are invented handwriting: 50 alphabets, about 1,600 characters, each drawn by 20 writers. You train on 25
# alphabets and compare your ideas on 5 others. `FewShot` draws *episodes*: small classification problems of `ways`
# characters, with `shots` labelled drawings of each (the support) and `queries` unlabelled ones.

# %%
glyphs = kshot.glyphs().to(device)
train, validation = glyphs.split("train"), glyphs.split("validation")


def draw(characters, ways, seed):
    """One episode with one drawing and one query a class, the queries in random order."""
    generator = torch.Generator().manual_seed(seed)
    drawn = kshot.FewShot(characters.images, ways=ways, shots=1, queries=1).sample(1, generator)
    order = torch.randperm(ways, generator=generator)
    return kshot.Episodes(drawn.support_x, drawn.support_y, drawn.query_x[:, order], drawn.query_y[:, order])


episode = draw(validation, ways=5, seed=3)
for name in ("support_x", "support_y", "query_x", "query_y"):
    print(f"{name:10}", tuple(getattr(episode, name).shape))

# %% [markdown]
# The first axis is always **T**, the number of episodes in the batch. Then come the examples: **S** in the support and
# **Q** queries. Here is the episode. Write down your five answers before you run the cell that tells.


# %%
def show(episode, guess=None):
    """Draw the first episode: support above, queries below; a wrong guess is named in vermillion."""
    ways = episode.support_x.shape[1]
    _, axes = plt.subplots(2, ways, figsize=(0.9 * ways, 2.6))
    for n in range(ways):
        label, truth = episode.support_y[0, n].item(), episode.query_y[0, n].item()
        answer = "?" if guess is None else guess[0, n].item()
        right = answer in ("?", truth)
        for ax, x in zip(axes[:, n], (episode.support_x, episode.query_x)):
            ax.imshow(x[0, n, 0].cpu(), cmap="gray_r")
            ax.axis("off")
        axes[0, n].set_title(label, fontsize=9)
        said, color = (answer, "black") if right else (f"{answer}, not {truth}", PALETTE[1])
        axes[1, n].set_title(said, color=color, fontsize=9)
    plt.suptitle("Support, one drawing a class (above); queries (below)", fontsize=10, y=1.05)
    plt.show()


show(episode)

# %%
print("the queries' classes:", episode.query_y[0].tolist())

# %% [markdown]
# ## Question 1: prototypes
#
# A network turns each drawing into a vector $z$, its *embedding*. A class is then summed up by one vector, the mean of
# its support embeddings:
#
# $$c_n = \frac{1}{|S_n|} \sum_{i \,:\, y_i = n} z_i$$

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 5

# %% [markdown]
# Write `prototypes(z, y, ways)` for a batch of T episodes at once.
#
# | | shape | |
# |---|---|---|
# | `z` | `[T, S, D]` | support embeddings |
# | `y` | `[T, S]` | their classes, `0 .. ways-1`, in any order, in another order in each episode |
# | returns | `[T, ways, D]` | row `n` of an episode is $c_n$ |
#
# Every class has at least one example, but one class may have more than another. Stay in torch from start to end:
# training sends gradients through this function.

# %% [raw]
# # BEGIN SOLUTION


# %%
def prototypes(z, y, ways):
    """The mean embedding of each class: z [T, S, D], y [T, S] -> [T, ways, D]."""
    # BEGIN SOLUTION
    belongs = (y[:, None, :] == torch.arange(ways, device=y.device)[None, :, None]).to(z.dtype)  # [T, N, S]
    shares = belongs / belongs.sum(dim=2, keepdim=True)  # each row sums to 1
    return torch.bmm(shares, z)
    # END SOLUTION


# %% [raw]
# # END SOLUTION


# %% mutant: takes the mean over all classes tags=["active-py"]
def prototypes(z, y, ways):
    return z.mean(1, keepdim=True).expand(-1, ways, -1)


# %% mutant: sums instead of averaging tags=["active-py"]
def prototypes(z, y, ways):
    belongs = torch.nn.functional.one_hot(y, ways).to(z.dtype)
    return belongs.mT @ z


# %% mutant: takes the support to be sorted by class tags=["active-py"]
def prototypes(z, y, ways):
    return z.view(len(z), ways, -1, z.shape[-1]).mean(2)


# %% mutant: numbers the classes as they appear tags=["active-py"]
def prototypes(z, y, ways):
    means = []
    for task, labels in zip(z, y):
        appearing = list(dict.fromkeys(labels.tolist()))
        means.append(torch.stack([task[labels == n].mean(0) for n in appearing]))
    return torch.stack(means)


# %% mutant: uses the first episode's labels for all tags=["active-py"]
def prototypes(z, y, ways):
    return torch.stack([z[:, y[0] == n].mean(1) for n in range(ways)], 1)


# %% mutant: pools each class over all episodes tags=["active-py"]
def prototypes(z, y, ways):
    return torch.stack([z[y == n].mean(0) for n in range(ways)]).expand(len(z), -1, -1)


# %% mutant: divides by the average class size tags=["active-py"]
def prototypes(z, y, ways):
    belongs = torch.nn.functional.one_hot(y, ways).to(z.dtype)
    return belongs.mT @ z / (y.shape[1] / ways)


# %% mutant: loses the gradient tags=["active-py"]
def prototypes(z, y, ways):
    rows = [[task[labels == n].mean(0).tolist() for n in range(ways)] for task, labels in zip(z, y)]
    return torch.tensor(rows)


# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
failure_message: Class 0 holds the points 0 and 2, class 1 the point 10, so the prototypes are 1 and 10. Which
  support rows does your mean take in, and what do you divide by?
"""  # END TEST CONFIG


def test_two_classes_on_a_line(prototypes):
    import torch

    got = prototypes(torch.tensor([[[0.0], [2.0], [10.0]]]), torch.tensor([[0, 0, 1]]), 2)
    assert got.tolist() == [[[1.0], [10.0]]]


# %%
""" # BEGIN TEST CONFIG
points: 1
failure_message: For 2 episodes of 6 examples in 4 dimensions and 3 classes the answer has shape [2, 3, 4], that is
  episodes, classes, dimensions. In these episodes the classes do not stand in order.
"""  # END TEST CONFIG


def test_the_shape_and_the_order_of_classes(prototypes):
    import torch

    z = torch.tensor([2.0, 1.0, 0.0, 1.0, 2.0, 0.0])[None, :, None].expand(2, 6, 4)
    got = prototypes(z, z[..., 0].long(), 3)
    assert tuple(got.shape) == (2, 3, 4)
    assert got[:, :, 0].tolist() == [[0.0, 1.0, 2.0]] * 2


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
failure_message: Each episode of a batch has its own labels, in an order of its own. Look up which labels your code
  uses for the second episode.
"""  # END TEST CONFIG


def test_each_episode_has_its_own_labels(prototypes):
    import torch

    from autograder.testing import close, rng

    generator = rng("own labels")
    z = torch.randn(4, 10, 6, generator=generator)
    y = torch.stack([torch.arange(5).repeat(2)[torch.randperm(10, generator=generator)] for _ in range(4)])
    got = prototypes(z, y, 5)
    expected = torch.stack([torch.stack([z[t][y[t] == n].mean(0) for n in range(5)]) for t in range(4)])
    assert close(got, expected)


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
failure_message: One class has a single example here and another has several. Each mean divides by the number of
  examples of its own class.
"""  # END TEST CONFIG


def test_classes_of_unequal_size(prototypes):
    import torch

    from autograder.testing import close, rng

    z = torch.randn(2, 9, 5, generator=rng("unequal sizes"))
    y = torch.tensor([[0, 1, 1, 2, 2, 2, 2, 2, 1], [2, 2, 0, 0, 0, 1, 0, 0, 0]])
    got = prototypes(z, y, 3)
    expected = torch.stack([torch.stack([z[t][y[t] == n].mean(0) for n in range(3)]) for t in range(2)])
    assert close(got, expected)


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
failure_message: Gradients must flow from the prototypes back to the embeddings, or nothing will be learned. Stay in
  torch (no tolist, item, numpy, torch.tensor or no_grad on the way).
"""  # END TEST CONFIG


def test_gradients_reach_the_support(prototypes):
    import torch

    from autograder.testing import close, probe, rng

    @probe
    def gradient(z, y, weight):
        z = z.clone().requires_grad_()
        (prototypes(z, y, 2) * weight).sum().backward()
        return z.grad

    generator = rng("gradient")
    z, weight = torch.randn(1, 4, 3, generator=generator), torch.randn(1, 2, 3, generator=generator)
    got = gradient(z, torch.tensor([[1, 0, 1, 1]]), weight)
    first, second = weight[0, 0], weight[0, 1] / 3
    assert close(got, torch.stack([second, first, second, second])[None])


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## Question 2: logits
#
# A query belongs to the class whose prototype is near. So its score, the *logit*, is **minus the squared distance**:
#
# $$\ell_{qn} = -\lVert z_q - c_n \rVert^2 \qquad\qquad p(y_q = n) = \frac{e^{\ell_{qn}}}{\sum_{m} e^{\ell_{qm}}}$$
#
# Mind the minus sign: it stands in the denominator as well.

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 5

# %% [markdown]
# Write `logits(z_query, c)`.
#
# | | shape | |
# |---|---|---|
# | `z_query` | `[T, Q, D]` | query embeddings |
# | `c` | `[T, N, D]` | prototypes, each episode its own |
# | returns | `[T, Q, N]` | $-\lVert z_q - c_n \rVert^2$ |
#
# One line can do it: let broadcasting pair every query with every prototype of its episode.

# %% [raw]
# # BEGIN SOLUTION


# %%
def logits(z_query, c):
    """Minus the squared distance of each query to each prototype: [T, Q, D], [T, N, D] -> [T, Q, N]."""
    # BEGIN SOLUTION
    difference = z_query.unsqueeze(2) - c.unsqueeze(1)  # [T, Q, N, D]
    return -difference.pow(2).sum(dim=-1)
    # END SOLUTION


# %% [raw]
# # END SOLUTION


# %% mutant: forgets the minus sign tags=["active-py"]
def logits(z_query, c):
    return (z_query.unsqueeze(2) - c.unsqueeze(1)).pow(2).sum(dim=-1)


# %% mutant: takes the square root tags=["active-py"]
def logits(z_query, c):
    return -torch.cdist(z_query, c)


# %% mutant: compares by cosine tags=["active-py"]
def logits(z_query, c):
    return torch.nn.functional.cosine_similarity(z_query.unsqueeze(2), c.unsqueeze(1), dim=-1)


# %% mutant: compares by dot product tags=["active-py"]
def logits(z_query, c):
    return z_query @ c.mT


# %% mutant: averages over the dimensions tags=["active-py"]
def logits(z_query, c):
    return -(z_query.unsqueeze(2) - c.unsqueeze(1)).pow(2).mean(dim=-1)


# %% mutant: puts classes before queries tags=["active-py"]
def logits(z_query, c):
    return -(z_query.unsqueeze(1) - c.unsqueeze(2)).pow(2).sum(dim=-1)


# %% mutant: uses the first episode's prototypes for all tags=["active-py"]
def logits(z_query, c):
    return -(z_query.unsqueeze(2) - c[0]).pow(2).sum(dim=-1)


# %% mutant: pairs query i with prototype i where the counts agree tags=["active-py"]
def logits(z_query, c):
    if z_query.shape == c.shape:
        return -(z_query - c).pow(2)
    return -(z_query.unsqueeze(2) - c.unsqueeze(1)).pow(2).sum(dim=-1)


# %% mutant: returns probabilities tags=["active-py"]
def logits(z_query, c):
    return (-(z_query.unsqueeze(2) - c.unsqueeze(1)).pow(2).sum(dim=-1)).softmax(-1)


# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
failure_message: The query (0, 0) lies at distance 5 from (3, 4) and at distance 2 from (0, 2), so its logits are -25
  and -4. Check sign, square and sum.
"""  # END TEST CONFIG


def test_a_query_and_two_prototypes(logits):
    import torch

    got = logits(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]))
    assert [round(number, 3) for number in got[0, 0].tolist()] == [-25.0, -4.0]


# %%
""" # BEGIN TEST CONFIG
points: 1
failure_message: For 2 episodes of 7 queries and 3 classes the answer has shape [2, 7, 3], that is episodes, queries,
  classes.
"""  # END TEST CONFIG


def test_the_shape(logits):
    import torch

    assert tuple(logits(torch.zeros(2, 7, 4), torch.ones(2, 3, 4)).shape) == (2, 7, 3)


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
failure_message: Each query is compared with the prototypes of its own episode, and no others. Where does the first
  axis of the prototypes go?
"""  # END TEST CONFIG


def test_episodes_stay_apart(logits):
    import torch

    from autograder.testing import close, rng

    generator = rng("episodes apart")
    z, c = torch.randn(3, 6, 4, generator=generator), torch.randn(3, 5, 4, generator=generator)
    got = logits(z, c)
    rows = [torch.stack([-(z[:, q] - c[:, n]).square().sum(-1) for n in range(5)], -1) for q in range(6)]
    assert close(got, torch.stack(rows, 1))


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
failure_message: With as many queries as classes and dimensions, broadcasting pairs the wrong axes without an error.
  The answer still has queries in its second axis and classes in its third.
"""  # END TEST CONFIG


def test_as_many_queries_as_classes(logits):
    import torch

    from autograder.testing import close, rng

    generator = rng("square")
    z, c = torch.randn(2, 4, 4, generator=generator), torch.randn(2, 4, 4, generator=generator)
    got = logits(z, c)
    rows = [torch.stack([-(z[:, q] - c[:, n]).square().sum(-1) for n in range(4)], -1) for q in range(4)]
    assert close(got, torch.stack(rows, 1))


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
failure_message: A training step through your logits must pull a query towards the prototype of its class. The
  gradient of the logits with respect to the query is not what minus the squared distance gives.
"""  # END TEST CONFIG


def test_the_gradient_pulls_towards_the_prototype(logits):
    import torch

    from autograder.testing import close, probe, rng

    @probe
    def pull(z, c):
        z = z.clone().requires_grad_()
        logits(z, c).sum().backward()
        return z.grad

    generator = rng("pull")
    z, c = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 1, 4, generator=generator)
    got = pull(z, c)
    assert close(got, 2 * (c - z))


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ### See what you made
#
# Three classes in the plane. Stars are your prototypes; the colours are where your logits let each class win. Before
# you run the cell: **which shape will the borders have?**

# %%
z = torch.tensor([[[-2.5, 2.0], [-1.0, 2.5], [2.0, 2.0], [1.0, -2.0], [3.0, -1.0], [-2.0, -2.5]]])
y = torch.tensor([[0, 0, 1, 1, 1, 2]])


def draw_regions(z, y, ways=3, side=200):
    """Colour each point of the plane by the class that wins there."""
    line = torch.linspace(-4, 4, side)
    plane = torch.cartesian_prod(line, line)[None]  # [1, side * side, 2]
    c = prototypes(z, y, ways)
    winner = logits(plane, c)[0].argmax(-1).view(side, side).T
    _, ax = plt.subplots(figsize=(4.5, 4.5))
    levels = [n - 0.5 for n in range(ways + 1)]
    ax.contourf(line, line, winner, levels=levels, colors=PALETTE[:ways], alpha=0.25)
    for n, marker in zip(range(ways), "os^"):
        own = z[0][y[0] == n]
        ax.scatter(own[:, 0], own[:, 1], color=PALETTE[n], marker=marker, label=f"class {n}")
        ax.scatter(*c[0, n], color=PALETTE[n], marker="*", s=260, edgecolor="black")
    ax.set(title="The nearest star wins", xlabel="embedding, first dimension", ylabel="second dimension")
    ax.legend(loc="lower right")
    plt.show()


draw_regions(z, y)

# %% [markdown]
# Move one support point far out in the cell above and run it again. Which border moves, and which way? You will need
# the answer in question 5.
#
# ## Question 3: loss and accuracy
#
# Training lowers the *cross-entropy*, the mean of minus the log-probability of each query's true class. You care about
# the *accuracy*, the share of queries whose largest logit is the true class.

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# Write `loss_and_accuracy(logits, query_y)`.
#
# | | shape | |
# |---|---|---|
# | `logits` | `[T, Q, N]` | from question 2, or from any other learner |
# | `query_y` | `[T, Q]` | true classes |
# | returns | `[T]`, `[T]` | loss and accuracy of each episode, both averaged over its queries |
#
# Squared distances are large numbers: logits of -1000 are normal, and $e^{-1000}$ is zero to a computer.
# `log_softmax` knows how to deal with that; `softmax` followed by `log` does not.

# %% [raw]
# # BEGIN SOLUTION


# %%
def loss_and_accuracy(logits, query_y):
    """Cross-entropy [T] and accuracy [T] of each episode: logits [T, Q, N], query_y [T, Q]."""
    # BEGIN SOLUTION
    log_p = logits.log_softmax(dim=-1)
    of_truth = log_p.gather(-1, query_y.unsqueeze(-1)).squeeze(-1)  # [T, Q]
    right = logits.argmax(dim=-1) == query_y
    return -of_truth.mean(dim=1), right.float().mean(dim=1)
    # END SOLUTION


# %% [raw]
# # END SOLUTION


# %% mutant: sums over the queries tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    loss = torch.nn.functional.cross_entropy(logits.mT, query_y, reduction="none").sum(1)
    return loss, (logits.argmax(-1) == query_y).float().mean(1)


# %% mutant: averages over the episodes too tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), query_y.flatten())
    return loss, (logits.argmax(-1) == query_y).float().mean()


# %% mutant: applies softmax twice tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    loss = torch.nn.functional.cross_entropy(logits.softmax(-1).mT, query_y, reduction="none").mean(1)
    return loss, (logits.argmax(-1) == query_y).float().mean(1)


# %% mutant: takes the softmax over the queries tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    log_p = logits.log_softmax(dim=1)
    loss = -log_p.gather(-1, query_y.unsqueeze(-1)).squeeze(-1).mean(1)
    return loss, (logits.argmax(-1) == query_y).float().mean(1)


# %% mutant: takes the log of a softmax that has become zero tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    loss = -p.gather(-1, query_y.unsqueeze(-1)).squeeze(-1).log().mean(1)
    return loss, (logits.argmax(-1) == query_y).float().mean(1)


# %% mutant: clamps the probability before the log tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    p = logits.softmax(-1).gather(-1, query_y.unsqueeze(-1)).squeeze(-1)
    return -p.clamp(min=1e-8).log().mean(1), (logits.argmax(-1) == query_y).float().mean(1)


# %% mutant: forgets the minus sign of the loss tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    log_p = logits.log_softmax(-1).gather(-1, query_y.unsqueeze(-1)).squeeze(-1)
    return log_p.mean(1), (logits.argmax(-1) == query_y).float().mean(1)


# %% mutant: measures accuracy over the batch axis tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    loss = torch.nn.functional.cross_entropy(logits.mT, query_y, reduction="none").mean(1)
    return loss, (logits.argmax(-1) == query_y).float().mean(0)


# %% mutant: counts right answers instead of their share tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    loss = torch.nn.functional.cross_entropy(logits.mT, query_y, reduction="none").mean(1)
    return loss, (logits.argmax(-1) == query_y).float().sum(1)


# %% mutant: takes the smallest logit for the answer tags=["active-py"]
def loss_and_accuracy(logits, query_y):
    loss = torch.nn.functional.cross_entropy(logits.mT, query_y, reduction="none").mean(1)
    return loss, (logits.argmin(-1) == query_y).float().mean(1)


# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
failure_message: Equal logits over 4 classes give each class probability one quarter, so the loss of every query is
  log 4 = 1.386, and so is their mean. One number an episode.
"""  # END TEST CONFIG


def test_a_learner_that_does_not_know(loss_and_accuracy):
    import torch

    loss, _ = loss_and_accuracy(torch.zeros(2, 5, 4), torch.tensor([[0, 1, 2, 3, 0]] * 2))
    assert [round(number, 3) for number in loss.tolist()] == [1.386, 1.386]


# %%
""" # BEGIN TEST CONFIG
points: 1
failure_message: In the first episode all four queries are right, in the second one of four. The accuracies are 1 and
  0.25, one number an episode.
"""  # END TEST CONFIG


def test_the_share_of_right_answers(loss_and_accuracy):
    import torch

    logits = torch.eye(3)[torch.tensor([[0, 1, 2, 0], [0, 0, 0, 0]])]
    _, accuracy = loss_and_accuracy(logits, torch.tensor([[0, 1, 2, 0], [0, 1, 2, 1]]))
    assert accuracy.tolist() == [1.0, 0.25]


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
failure_message: On random logits the loss is not the cross-entropy of each episode. Which axis holds the classes,
  and over which do you average?
"""  # END TEST CONFIG


def test_the_loss_of_random_logits(loss_and_accuracy):
    import torch

    from autograder.testing import close, rng

    generator = rng("random logits")
    logits = 3 * torch.randn(3, 5, 5, generator=generator)
    query_y = torch.randint(5, (3, 5), generator=generator)
    loss, _ = loss_and_accuracy(logits, query_y)
    assert close(loss, torch.nn.functional.cross_entropy(logits.mT, query_y, reduction="none").mean(1))


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
failure_message: Logits here lie between -1000 and 0, as squared distances do. Your loss is infinite, not a number,
  or cut off. Work with log-probabilities from the start.
"""  # END TEST CONFIG


def test_large_distances(loss_and_accuracy):
    import torch

    from autograder.testing import close, rng

    generator = rng("large distances")
    logits = -1000 * torch.rand(4, 6, 5, generator=generator)
    query_y = torch.randint(5, (4, 6), generator=generator)
    loss, accuracy = loss_and_accuracy(logits, query_y)
    assert close(loss, torch.nn.functional.cross_entropy(logits.mT, query_y, reduction="none").mean(1))
    assert close(accuracy, (logits.argmax(2) == query_y).float().mean(1))


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## Question 4: train it
#
# Your three functions are a learner: $y = f_\theta(D_{\text{train}}, x)$. `Metric` embeds support and query with the
# network and hands you the embeddings; the rest is yours.


# %%
class ProtoNet(Metric):
    """A prototypical network (Snell et al., 2017) made of your functions."""

    def compare(self, z_support, y, ways, z_query):
        return logits(z_query, prototypes(z_support, y, ways))

    def losses(self, episodes):
        scores = self(episodes.support_x, episodes.support_y, episodes.query_x)
        return loss_and_accuracy(scores, episodes.query_y)[0]


def new_learner():
    """An untrained ProtoNet: four convolutions of 32 channels, weights from a fixed seed."""
    return ProtoNet(kshot.Conv4(channels=32, batch_norm="running")).to(device)


# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 8

# %% [markdown]
# Train `learner = new_learner()` with `kshot.fit`, keep what it returns as `history`, and save to
# `hw2_protonet.safetensors`. This works, and takes about ten seconds:
#
# ```python
# training = kshot.FewShot(train.images, ways=5, shots=1, queries=5)
# history = kshot.fit(learner, training, steps=500, checkpoint="hw2_protonet.safetensors")
# ```
#
# It is not good enough. Your weights are graded by their accuracy on **20-way 1-shot** episodes from new alphabets:
#
# | accuracy of at least | 50 % | 65 % | 74 % | 79 % |
# |---|---|---|---|---|
# | points | 2 | 4 | 6 | 8 |
#
# For scale: guessing gives 5 %, an untrained network 25 %, the two lines above 56 %. 3,000 steps of 20-way episodes
# with rotations, two minutes of one CPU core, give 83.5 % (82.0 to 85.5 over five draws of 40 new alphabets) and 82 %
# in validation: where validation says 82, you are there. A GPU saves you the two minutes, nothing else.
#
# Things to turn: `ways` (train on harder episodes), `rotations=True` (every character turned by a quarter is a new
# class), `steps`, `learning_rate` (0.001 unless you say otherwise), `schedule="cosine"`. With
# `validation=kshot.FewShot(validation.images, ways=20, shots=1, queries=5)` the best weights are kept, not the last.
# Stop the cell and run it again: it goes on where it was. After a change of settings `fit` wants another file name, or
# the old file deleted; what you hand in must be called `hw2_protonet.safetensors`. `help(kshot.fit)` lists the rest.
# The network stays as it is: weights of another shape earn nothing.

# %% [raw]
# # BEGIN SOLUTION

# %%
learner = new_learner()
# BEGIN SOLUTION
history = kshot.fit(
    learner,
    kshot.FewShot(train.images, ways=20, shots=1, queries=5, rotations=True),
    steps=3000,
    learning_rate=2e-3,
    schedule="cosine",
    validation=kshot.FewShot(validation.images, ways=20, shots=1, queries=5),
    validate_every=500,
    checkpoint="hw2_protonet.safetensors",
)
# END SOLUTION

# %% [raw]
# # END SOLUTION

# %% mutant: hands in the shipped checkpoint tags=["active-py"]
import shutil

from kshot import checkpoint

shutil.copy(checkpoint.shipped("protonet_omniglot"), "hw2_protonet.safetensors")

# %% mutant: hands in an untrained network tags=["active-py"]
import kshot
from kshot import checkpoint

untrained = kshot.Prototypical(kshot.Conv4(channels=32, batch_norm="running", seed=1))
checkpoint.save("hw2_protonet.safetensors", untrained.state_dict(), {"settings": {}, "history": {}})

# %% mutant: stops after fifty steps tags=["active-py"]
import os

import kshot

os.remove("hw2_protonet.safetensors")
short = kshot.Prototypical(kshot.Conv4(channels=32, batch_norm="running"))
fifty = kshot.FewShot(kshot.glyphs().split("train").images, ways=5, shots=1, queries=5)
kshot.fit(short, fifty, steps=50, checkpoint="hw2_protonet.safetensors", progress=False)

# %% mutant: trains with the starting settings of the text tags=["active-py"]
import os

import kshot

os.remove("hw2_protonet.safetensors")
first = kshot.Prototypical(kshot.Conv4(channels=32, batch_norm="running"))
easy = kshot.FewShot(kshot.glyphs().split("train").images, ways=5, shots=1, queries=5)
kshot.fit(first, easy, steps=500, checkpoint="hw2_protonet.safetensors", progress=False)

# %% mutant: hands in half a file tags=["active-py"]
from pathlib import Path

whole = Path("hw2_protonet.safetensors").read_bytes()
Path("hw2_protonet.safetensors").write_bytes(whole[: len(whole) // 2])

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 0
failure_message: There is no finished training yet. Keep what kshot.fit returns as history, and let it run to its
  last step.
"""  # END TEST CONFIG


def test_the_training_is_finished(history):
    assert history.finished is True


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
failure_message: 20-way 1-shot accuracy on new alphabets is below 50 %, or there is no usable file of 32 channels. Your
  validation accuracy says where you stand. More ways, rotations, more steps and a cosine schedule all help.
"""  # END TEST CONFIG


def test_at_least_50_percent():
    from autograder.testing import hidden_tasks, once, probe, submitted

    @probe(fresh=True)
    def answers(weights, *tasks):
        import torch

        import kshot

        learner = kshot.Prototypical(kshot.Conv4(channels=32, batch_norm="running")).eval()
        learner.load_state_dict(weights)
        with torch.no_grad():
            return torch.cat([learner(*ten).argmax(-1) for ten in zip(*(part.split(10) for part in tasks))])

    def accuracy():
        weights = submitted("hw2_protonet.safetensors")
        e = hidden_tasks(20, 1, 3, tasks=100, name="ladder", alphabets=40)
        return (answers(weights, e.support_x, e.support_y, e.query_x) == e.query_y).float().mean().item()

    assert once("accuracy", accuracy) >= 0.50


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
failure_message: 20-way 1-shot accuracy on new alphabets is below 65 %, or there is no usable file of 32 channels. Your
  validation accuracy says where you stand. More ways, rotations, more steps and a cosine schedule all help.
"""  # END TEST CONFIG


def test_at_least_65_percent():
    from autograder.testing import hidden_tasks, once, probe, submitted

    @probe(fresh=True)
    def answers(weights, *tasks):
        import torch

        import kshot

        learner = kshot.Prototypical(kshot.Conv4(channels=32, batch_norm="running")).eval()
        learner.load_state_dict(weights)
        with torch.no_grad():
            return torch.cat([learner(*ten).argmax(-1) for ten in zip(*(part.split(10) for part in tasks))])

    def accuracy():
        weights = submitted("hw2_protonet.safetensors")
        e = hidden_tasks(20, 1, 3, tasks=100, name="ladder", alphabets=40)
        return (answers(weights, e.support_x, e.support_y, e.query_x) == e.query_y).float().mean().item()

    assert once("accuracy", accuracy) >= 0.65


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
failure_message: 20-way 1-shot accuracy on new alphabets is below 74 %, or there is no usable file of 32 channels. Your
  validation accuracy says where you stand. More ways, rotations, more steps and a cosine schedule all help.
"""  # END TEST CONFIG


def test_at_least_74_percent():
    from autograder.testing import hidden_tasks, once, probe, submitted

    @probe(fresh=True)
    def answers(weights, *tasks):
        import torch

        import kshot

        learner = kshot.Prototypical(kshot.Conv4(channels=32, batch_norm="running")).eval()
        learner.load_state_dict(weights)
        with torch.no_grad():
            return torch.cat([learner(*ten).argmax(-1) for ten in zip(*(part.split(10) for part in tasks))])

    def accuracy():
        weights = submitted("hw2_protonet.safetensors")
        e = hidden_tasks(20, 1, 3, tasks=100, name="ladder", alphabets=40)
        return (answers(weights, e.support_x, e.support_y, e.query_x) == e.query_y).float().mean().item()

    assert once("accuracy", accuracy) >= 0.74


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
failure_message: 20-way 1-shot accuracy on new alphabets is below 79 %, or there is no usable file of 32 channels. Your
  validation accuracy says where you stand. More ways, rotations, more steps and a cosine schedule all help.
"""  # END TEST CONFIG


def test_at_least_79_percent():
    from autograder.testing import hidden_tasks, once, probe, submitted

    @probe(fresh=True)
    def answers(weights, *tasks):
        import torch

        import kshot

        learner = kshot.Prototypical(kshot.Conv4(channels=32, batch_norm="running")).eval()
        learner.load_state_dict(weights)
        with torch.no_grad():
            return torch.cat([learner(*ten).argmax(-1) for ten in zip(*(part.split(10) for part in tasks))])

    def accuracy():
        weights = submitted("hw2_protonet.safetensors")
        e = hidden_tasks(20, 1, 3, tasks=100, name="ladder", alphabets=40)
        return (answers(weights, e.support_x, e.support_y, e.query_x) == e.query_y).float().mean().item()

    assert once("accuracy", accuracy) >= 0.79


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ### What did it learn?

# %%
figure, ax = plt.subplots(figsize=(6, 3))
ax.plot(list(history.validation), [100 * score for score in history.validation.values()], "o-", color=PALETTE[0])
ax.set(title="New alphabets get easier (20-way 1-shot)", xlabel="training step", ylabel="validation accuracy, %")
plt.show()

# %%
test = kshot.FewShot(glyphs.split("test").images, ways=20, shots=1, queries=5)
rivals = {"guessing": None, "pixels": kshot.PixelNeighbour(), "untrained": new_learner(), "yours": learner}
for name, rival in rivals.items():
    print(f"{name:10}", "5.0 %" if rival is None else kshot.evaluate(rival, test, episodes=40))

# %%
hard = draw(glyphs.split("test"), ways=10, seed=5)
with torch.no_grad():
    show(hard, guess=learner(hard.support_x, hard.support_y, hard.query_x).argmax(-1))

# %% [markdown]
# ## Question 5: where it breaks

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 3
# manual: true

# %% [markdown]
# Three short answers, a few lines in all.
#
# 1. Subtract the logits of two classes, $\ell_{qn} - \ell_{qm}$, and simplify. Which shape has the border between them,
#    and why?
# 2. Describe a class that one prototype cannot stand for, whatever the number of shots, as long as the embedding stays
#    as it is.
# 3. What would you change in your functions so that it could? What does that cost when there is one shot?

# %% [raw]
# # BEGIN PROMPT

# %% [markdown]
# *Write your answer here.*

# %% [raw]
# # END PROMPT

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# 1. The terms $\lVert z \rVert^2$ cancel:
#    $\ell_n - \ell_m = 2 (c_n - c_m) \cdot z - \lVert c_n \rVert^2 + \lVert c_m \rVert^2$.
#    That is linear in $z$, so the border is a straight line (a hyperplane), halfway between the two prototypes and at
#    right angles to the line through them. (1 point)
# 2. A class with two clusters and another class between them, such as a letter's capital and small form: its mean lies
#    between the clusters, in the other class. More shots only make that mean more exact. (1 point)
# 3. Keep several prototypes a class (by clustering the support, or every support point as in matching networks) and let
#    the nearest count. With one shot there is only one point a class: nothing is gained, and with few shots each
#    prototype rests on fewer examples and is noisier. (1 point)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION
