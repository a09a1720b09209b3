# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Start here: where does a task live?
#
# In this lecture you play with a machine that learns five new characters from one drawing of each, in milliseconds.
# Where does it keep what it has learned? Make a guess now. You will test it in the first five minutes.
#
# You need PyTorch basics: tensors, a network, a training loop. Nothing has to be downloaded: the drawings are
# **Glyphs**, invented alphabets that a program draws in the hands of twenty writers (or Omniglot, where it is
# installed). Run each cell with **Shift + Enter**. Where you are asked to predict, commit first and read on afterwards.

# %%
import torch
import torch.nn.functional as F
from torch import nn

import kshot
from kshot import see

torch.set_num_threads(1)  # small networks gain nothing from more


def seed(number):
    return torch.Generator().manual_seed(number)


characters = kshot.characters().split("test")
home = "omniglot" if characters.source == "Omniglot" else "glyphs"
learner = kshot.pretrained(f"protonet_{home}")  # never trained on an alphabet of `characters`

# %% [markdown]
# ## A machine and five drawings
#
# The machine gets five drawings with a tag on each, and one more drawing without a tag, the query. It answers with a
# probability for each tag. Its network was trained on other alphabets. Training is over: no weight will change today.
#
# One of the five drawings shows the query's character. You exchange its tag with the tag of another drawing. The ink
# stays, the query stays, the weights stay. If the machine recognises letters, its answer stays too.

# %%
swap = kshot.predict(
    "Two tags have changed places. What does the machine call the query now?",
    "choice",
    choices=["the old tag", "the new tag", "a third tag"],
    unit="%",
    ylabel="mean probability (%)",
    key="swap",
)
swap

# %% [markdown]
# Try it. The arena calls the function below at each change. **Drag a tag onto another one** to exchange the two. Draw
# over the query, or over any of the five. *Surprise me* brings other drawings. The map beside the bars shows what looks
# alike to the machine. It flattens 64 dimensions to two, so neighbours on it may be far apart for the machine: trust
# the bars. A query has a black frame, here and in every picture.
#
# **Challenge:** with one drag, and without touching any ink, make the machine change its mind about the query.


# %%
def answer(learner, glyphs, labels, query):  # [5, 28, 28], [5], [28, 28]
    support_x, query_x = glyphs[None, :, None], query[None, None, None]  # one task, one channel
    logits = learner(support_x, labels[None], query_x)  # [1, 1, 5]
    return logits.softmax(-1)[0, 0]  # [5]


# %%
see.arena(learner, names=["the machine"], characters=characters, seed=3, answer=answer, saved_swap=(3, 0))

# %% [markdown]
# Was that luck? Here are 200 tasks of five new characters. In each we ask about the character tagged 0, after its tag
# has changed places with tag 1.

# %%
tasks = kshot.FewShot(characters.images, ways=5, shots=1, queries=1)
episodes = tasks.sample(200, seed(0))
swapped = torch.tensor([1, 0, 2, 3, 4])[episodes.support_y]  # only the tags, nothing else
with torch.no_grad():
    p = learner(episodes.support_x, swapped, episodes.query_x).softmax(-1)  # [200, 5, 5]
p = p[episodes.query_y == 0]  # [200, 5]: what it says of the character that was tagged 0
old, new, third = (kshot.Result(share) for share in (p[:, 0], p[:, 1], p[:, 2:].sum(1)))
swap.reveal({"the old tag": old, "the new tag": new, "a third tag": third})

# %% [markdown]
# The belief "it recognises letters" does not survive this. The machine has no name for any letter. It finds the
# drawing that looks like the query, and reads out whatever tag hangs there *now*.
#
# The five tagged drawings are a tiny training set, $D_\text{train}$. You changed the task by changing
# $D_\text{train}$:
#
# > **The task lives in $D_\text{train}$, not in the image.**

# %% [markdown]
# ## One drawing, two right answers
#
# You may object: the tags were only names. Character A is still character A, whatever it is called, and a drawing has
# one right answer. So let us change the *question*, again without touching the ink. We take characters drawn by three
# writers, and give each writer a pen, so that you can see whose drawing it is.


# %%
def pens(images):  # uint8 [C, 20, 1, 28, 28] -> [C, 3, 1, 28, 28]
    fine, pencil, brush = images[:, 0], 0.4 * images[:, 1], images[:, 2].float()
    brush = F.max_pool2d(F.pad(brush, (0, 1, 0, 1)), kernel_size=2, stride=1)
    return torch.stack([fine, pencil.to(torch.uint8), brush.to(torch.uint8)], dim=1)


# %% [markdown]
# `kshot.CharacterOrWriter` deals five of the nine drawings, with tags that name characters or writers. With one seed,
# both get the same five. In the first row below all are tagged, in the second row four. Only one of the four tags
# differs, and nobody tells you what the tags stand for.


# %%
COLOURS = {"A": see.ORANGE, "B": see.SKY, "C": see.GREEN, "?": see.BLACK}


def frame(ax, image, tag):
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=COLOURS.get(tag, see.GREY), linewidth=4)
    ax.set_title(tag, loc="center")
    return ax.imshow(image, vmin=0, vmax=1)


def headline(axes, words):
    return axes.flat[0].figure.suptitle(words, x=0.01, ha="left", fontsize=11, fontweight="bold")


def letters(y):  # [5] -> five letters, A for the label that comes first: tags are only names
    seen = list(dict.fromkeys(y.tolist()))
    return ["ABC"[seen.index(label)] for label in y.tolist()]


# %%
drawn = pens(characters.images)
dealt = {
    by: kshot.CharacterOrWriter(drawn, characters.alphabet, by).sample(10, seed(73)) for by in ("character", "writer")
}
tags = {by: letters(torch.cat([many.support_y[0], many.query_y[0]])) for by, many in dealt.items()}
drawings = torch.cat([dealt["writer"].support_x, dealt["writer"].query_x], dim=1)[:, :, 0]  # [10, 5, 28, 28]

alt = "Two rows of the same five drawings, tagged A B B C A and A B A C ?."
with see.drawing(alt=alt, figsize=(6, 3.3), panels=(2, 5)) as axes:
    headline(axes, "One tag has changed")
    for row, tagged in zip(axes, [tags["character"], [*tags["writer"][:4], "?"]]):
        for ax, image, tag in zip(row, drawings[0], tagged):
            frame(ax, image, tag)

# %%
pen = kshot.predict("Second row: which tag does the last drawing get?", "choice", choices="ABC", key="pen")
pen

# %%
pen.reveal(tags["writer"][4])

# %% [markdown]
# In the first row the second and third drawings share a tag. They show the same *character*. So the tags name
# characters, and the query's character is tagged A.
#
# In the second row the first and third drawings share a tag. They come from the same *pen*. So the tags name writers,
# and the query's writer is tagged B.
#
# Does the machine follow that rule? Change the third tag and see what it says.


# %%
def settled(tags):  # of the four drawings: the first and third share their writer, the second and third their character
    by = "writer" if tags[0] == tags[2] else "character"
    return by, tags[1] if by == "writer" else tags[0]  # the query has the second's writer, the first's character


def machine(images, tags):  # [5, 28, 28], four letters -> a letter
    y = torch.tensor(["ABC".index(tag) for tag in tags])
    return "ABC"[answer(learner, images[:4], y, images[4]).argmax()]


def words(state):
    given = ["A", "B", state["third_drawing"], "C"]
    by, right = settled(given)
    says = machine(drawings[state["task"]], given)
    return f"The tags name {by}s, so the last drawing is {right}. The machine says {says}."


# %%
@see.picture(figsize=(7, 1.95), panels=(1, 5))
def question(axes):
    images = [frame(ax, drawings[0, 0], "?") for ax in axes]
    title = headline(axes, "What do the tags name?")

    def update(state):
        given = ["A", "B", state["third_drawing"], "C"]
        title.set_text(words(state))
        for i, tag in enumerate([*given, settled(given)[1]]):
            images[i].set_data(drawings[state["task"], i])
            axes[i].set_title(tag, loc="center")
            axes[i].spines[:].set_color(COLOURS[tag])

    return update


# %%
see.Explorer(
    question,
    alt=words,
    challenge=("Change the right answer without changing any drawing.", lambda s: s["third_drawing"] == "A"),
    saved={"third_drawing": "A"},
    third_drawing=["B", "A"],
    task=(0, 9, 1),
)

# %% [markdown]
# The same image has two right answers. No network that looks at the query alone can give both. You could, because you
# read the tags first. The machine is given the tags too, and yet it gets many of these wrong. We come back to that.

# %% [markdown]
# ## What a task is
#
# Informally: a task is something you want done, and the data and the loss that say so. Another alphabet is another
# task. So is another writer, another language, another goal, another camera.
#
# Formally, a task is a triple $\mathcal{T} = \{\,p(x),\; p(y \mid x),\; \mathcal{L}\,\}$: which inputs occur, which
# answer is right for each, and how much an error costs. You have just met two tasks with the same $p(x)$ and different
# $p(y \mid x)$.
#
# | symbol | in words | in code |
# |---|---|---|
# | $p(x)$ | which drawings occur | `characters.images` |
# | $p(y \mid x)$ | which tag is right | `by="character"` or `by="writer"`, as above |
# | $\mathcal{L}$ | what an error costs | `F.cross_entropy` |
#
# We never see the triple. We see samples from it. Some are given to us, the **support**. On others, the **queries**,
# we are tested. The two never share a drawing. **N-way K-shot** means: N classes, K support examples of each.

# %%
six = characters.images[230:242:2]
tasks = kshot.FewShot(six, ways=5, shots=1, queries=1)
episodes = tasks.sample(3, seed(1))

print("support_x", list(episodes.support_x.shape), " tasks, N*K drawings, 1 channel, 28 x 28")
print("support_y", list(episodes.support_y.shape), " labels 0..4 in each task")
print("query_x  ", list(episodes.query_x.shape))
print("query_y  ", list(episodes.query_y.shape))

# %% jupyter={"source_hidden": true}
with see.drawing(alt="Three tasks: five tagged drawings, two queries.", figsize=(7, 3.9), panels=(3, 7)) as axes:
    headline(axes, "Three 5-way 1-shot tasks: support, and two of the five queries")
    for t, row in enumerate(axes):
        images = torch.cat([episodes.support_x[t], episodes.query_x[t, :2]])[:, 0]
        tagged = [*episodes.support_y[t].tolist(), *(f"query, {y}" for y in episodes.query_y[t, :2].tolist())]
        for ax, image, tag in zip(row, images, tagged):
            frame(ax, image, str(tag))
        row[0].set_ylabel(f"task {t + 1}")
        for ax in row[5:]:
            ax.spines[:].set_color(see.BLACK)

# %% [markdown]
# Each row is one task: one **episode**, here with N = 5 and K = 1. All three deal from the same six characters. Find
# one that occurs in two rows and compare its labels: they are dealt anew each time. They have to be. Had a character
# the same label in every task, the weights could store the pair and never read $D_\text{train}$.
#
# The rows are drawn independently from one distribution over tasks, $\mathcal{T}_i \sim p(\mathcal{T})$. In ordinary
# learning the examples are i.i.d.; here the *tasks* are. `tasks.sample(3, generator)` is three such draws.

# %% [markdown]
# ## The obvious thing: train a classifier
#
# You have trained classifiers before. So take five characters, collect 15 drawings of each, and train a network.


# %%
def layers():  # a body [n, 1, 28, 28] -> [n, 288], and a head [n, 288] -> [n, 5]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(4))
        second = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        return nn.Sequential(first, second, nn.Flatten()), nn.Linear(288, 5)


def train(net, x, y):  # 40 steps on all of x
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net


# %%
old = kshot.FewShot(characters.images[:5], ways=5, shots=15, queries=5).sample(1, seed(0))
body, head = layers()
net = train(nn.Sequential(body, head), old.support_x[0], old.support_y[0])

own = (net(old.query_x[0]).argmax(-1) == old.query_y[0]).float().mean()
print(f"New drawings of its own five characters: {100 * own:.0f} % right ({old.query_y.numel()} drawings, chance 20 %)")

# %% [markdown]
# That works. Now hand this network a new task: five of the other characters, one tagged drawing of each, and queries.

# %%
chance = kshot.predict("How often is this classifier right on a new task?", unit="%", key="new")
chance


# %%
def frozen(support_x, support_y, query_x):  # [S, 1, 28, 28], [S], [Q, 1, 28, 28] -> [Q]
    return net(query_x).argmax(-1)


def accuracy(f, episodes):
    tasks = zip(episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y)
    right = [(f(s_x, s_y, q_x) == q_y).float().mean() for s_x, s_y, q_x, q_y in tasks]
    return kshot.Result(torch.stack(right))


tasks = kshot.FewShot(characters.images[5:], ways=5, shots=1, queries=1)  # none of the five it knows
new_tasks = tasks.sample(300, seed(2))
results = {"old classifier": accuracy(frozen, new_tasks)}
chance.reveal(results["old classifier"], chance=20)

# %% [markdown]
# Chance. A larger network would not help, nor would more drawings of the old characters. Look at `frozen`: it is given
# `support_x` and `support_y` and reads neither. All it knows about its task sits in its weights. For this kind of
# function, a new task needs new weights.
#
# Then give it new weights. Keep the body, and train a fresh head on the five tagged drawings, in every task:


# %%
def new_head(support_x, support_y, query_x):
    with torch.no_grad():
        z_support, z = body(support_x), body(query_x)
    fresh = nn.Linear(288, 5)
    nn.init.zeros_(fresh.weight)
    nn.init.zeros_(fresh.bias)
    return train(fresh, z_support, support_y)(z).argmax(-1)


results["old classifier, new head"] = accuracy(new_head, new_tasks)
print("A new head for every task:", results["old classifier, new head"])

# %% [markdown]
# Better, and far from good. The new head reads $D_\text{train}$, but one drawing does not say how a character varies
# from hand to hand. The body has learned what tells five *particular* characters apart. What it needs is practice in
# telling *new* ones apart.

# %% [markdown]
# ## The idea: read the training set
#
# So make the whole thing one function. Give it the training set as an *input*, beside the query, and let it practise on
# many tasks: draw a task, predict its queries from its support, move $\theta$ down the gradient of that loss, draw the
# next. Then the weights stay as they are, and a new task is only another input:
#
# $$ \hat y = f_\theta(D_\text{train}, x) $$
#
# | symbol | in words | in code |
# |---|---|---|
# | $x$ | the query | `query_x` |
# | $D_\text{train}$ | the support: drawings and their tags | `support_x, support_y` |
# | $f$ | the learner | `learner` |
# | $\theta$ | what it brings along from other tasks | `learner.parameters()` |
# | $\hat y$ | its prediction of $y$ | `learner(support_x, support_y, query_x).argmax(-1)` |
# | $y$ | the right answer | `query_y` |
# | $\mathcal{T}_i \sim p(\mathcal{T})$ | i.i.d. tasks | `tasks.sample(300, generator)` |
# | N-way K-shot | N classes, K support examples of each | `ways=5, shots=1` |
#
# The smallest such function has no $\theta$ at all. It gives a query the tag of the support drawing whose pixels are
# nearest:


# %%
def neighbour(support_x, support_y, query_x):  # [S, 1, 28, 28], [S], [Q, 1, 28, 28] -> [Q]
    distance = torch.cdist(query_x.flatten(1), support_x.flatten(1))  # [Q, S]
    return support_y[distance.argmin(1)]


# %% [markdown]
# Training a fresh network on the five drawings fits the signature too: it reads $D_\text{train}$ by 40 gradient steps.
# And so does our machine, which takes many tasks at once and answers with logits. Its network before any training, with
# the random weights of seed 0, will show what the other tasks are worth.


# %%
def scratch(support_x, support_y, query_x):
    return train(nn.Sequential(*layers()), support_x, support_y)(query_x).argmax(-1)


def one_task(learner):
    return lambda s_x, s_y, q_x: learner(s_x[None], s_y[None], q_x[None])[0].argmax(-1)


untrained = kshot.Prototypical(kshot.Conv4(seed=0))

# %%
blank = kshot.predict("The machine with random weights: how often is it right?", unit="%", key="blank")
blank

# %%
results["nearest in pixels"] = accuracy(neighbour, new_tasks)
results["trained on the five"] = accuracy(scratch, new_tasks[:60])
results["the machine, untrained"] = accuracy(one_task(untrained), new_tasks)
blank.reveal(results["the machine, untrained"], chance=20)

# %%
results["the machine"] = accuracy(one_task(learner), new_tasks)
see.accuracies(results, title="Reading the support helps, practice helps more", chance=20, highlight="the machine")

# %% [markdown]
# Three things to see. The function that does not read the support is at chance. The four that read it, but have never
# practised on other tasks, are wrong 40 to 56 % of the time. (Random weights beat raw pixels because even
# random filters, pooled, forgive a stroke that is shifted a little.) The last line differs from the one above it only
# in $\theta$: weights from *other* tasks, which have made "looks alike" mean "is the same character".
#
# (5-way 1-shot, five queries a task, 300 tasks, 60 for *trained on the five*; 95 % intervals over tasks. The paper of
# this kind of machine, Snell et al. (2017), has 98.8 %. That is on Omniglot, split and augmented in its own way, so the
# two are not comparable. Lecture 05 compares.)

# %% [markdown]
# ## Three problems, one signature
#
# Where may $\theta$ come from, and what is it then good for? There are three classical answers.


# %% jupyter={"source_hidden": true}
def problem(ax, title, before, now, asked):
    for y, names, colour in [(2, before, see.GREY), (1, now, see.BLUE), (0, asked, see.BLACK)]:
        for i, name in enumerate(names):
            box = dict(boxstyle="round,pad=0.5", facecolor=colour, edgecolor="none")
            ax.text((i + 1) / (len(names) + 1), y, name, color="white", ha="center", va="center", bbox=box)
    for y, words in [(1.7, "$\\theta$ is\ncarried\nover")] * bool(before) + [(0.7, "")]:
        ax.annotate("", (0.5, y - 0.42), (0.5, y), arrowprops=dict(arrowstyle="-|>", color="#333333", lw=1.5))
        see.label(ax, 0.54, y - 0.17, words, fontsize=9, fontweight="normal")
    if not before:
        see.label(ax, 0.5, 2, "(nothing)", see.GREY, ha="center", fontweight="normal")
    ax.set(title=title, xlim=(0, 1), ylim=(-0.5, 2.5), xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="#D5D5D5")


alt = "Multi-task: all data now, all tasks asked. Transfer: one before, one now. Meta: many before, a new one now."
with see.drawing(alt=alt, figsize=(7.4, 3), panels=(1, 3)) as axes:
    problem(axes[0], "Multi-task learning", [], ["$D_1$", "$D_2$", "$D_3$"], ["tasks 1, 2 and 3"])
    problem(axes[1], "Transfer learning", ["$D_a$"], ["$D_b$"], ["task $b$"])
    problem(axes[2], "Meta-learning", ["$D_1$", "$D_2$", "$D_3$", "..."], ["$D_{train}$, small"], ["a new task"])
    axes[0].set_yticks([2, 1, 0], ["seen\nbefore", "given\nnow", "asked"])

# %% [markdown]
# $D_i$ is the data of task $i$, in code `episodes[i : i + 1]`.
#
# | | multi-task | transfer | meta |
# |---|---|---|---|
# | **given** | all $D_i$ at once | $D_a$ before, $D_b$ now | many $D_i$ before, a small $D_\text{train}$ now |
# | **old data when the new task comes** | there is no new task | often gone | not needed: $\theta$ has what it taught |
# | **asked** | all these tasks | task $b$ | a new task, quickly |
# | **assumed** | the tasks share structure | $a$ and $b$ share structure | old and new come from one $p(\mathcal{T})$ |
#
# **Which is which?** (1) A network that knows street photographs learns X-rays from 200 of them; the photographs are
# gone. (2) One mail filter marks spam, urgency and language; all three have data, all three are wanted. (3) A tablet
# has met the handwriting of thousands, and reads yours after you have written five words. (4) A language model is
# prompted with five examples and asked a sixth.
#
# <details><summary>Answers</summary>
#
# 1 is transfer, 2 multi-task, 3 meta-learning: so was the arena. 4 is used like meta-learning, for the prompt is a
# $D_\text{train}$ that is read in a forward pass. It was made as in transfer: one large training on text that is no
# longer there, and that nobody had sorted into tasks.
#
# </details>
#
# The last row is the same in all three: if the tasks share no structure, nothing can be carried over.

# %% [markdown]
# ## Where it breaks
#
# Back to the two questions. We put them to the machine in two tests with the same drawings: in one the tags name the
# characters, in the other the writers. The drawings are as they are, without pens. Guessing gets 33 %.

# %%
writer = kshot.predict("The tags name the writers. How often is the machine right?", unit="%", key="writer")
writer


# %%
def score(f, by, images=characters.images):
    return accuracy(f, kshot.CharacterOrWriter(images, characters.alphabet, by).sample(300, seed(0)))


scores = {f"{by}s, no pens": score(one_task(learner), by) for by in ("character", "writer")}
writer.reveal(scores["writers, no pens"], chance=100 / 3)

# %% [markdown]
# Far below chance, which takes skill. A learner that ignored the support would be *at* chance. This one reads it, finds
# the drawing of the same character, and gives that drawing's tag: it answers another question than the tags ask.
#
# Is the test unfair? Without pens you could not have named the writers either. So give the pens back, and put a ceiling
# beside it: `settled`, which is told who drew what and follows the tags.


# %%
def told(support_x, support_y, query_x):
    return torch.tensor([settled(support_y.tolist())[1]])


scores |= {f"{by}s, with pens": score(one_task(learner), by, drawn) for by in ("character", "writer")}
scores["ceiling: told who drew what"] = score(told, "either", drawn)
title = "The machine answers a question that nobody asked"
see.accuracies(scores, title=title, chance=100 / 3, highlight="ceiling: told who drew what")

# %% [markdown]
# The pens settle every task: whoever follows the tags is always right. The machine goes by whichever likeness is
# stronger in the drawings: without pens the character, with them more often the pen. The tags decide
# which word it says. They have no say in what counts as alike. Here is the task from above, where it goes by the
# character both times:

# %%
alt = "The same drawings tagged by character and by writer: the machine gives both the same answer, once wrongly."
with see.drawing(alt=alt, figsize=(7, 3.3), panels=(2, 6)) as axes:
    headline(axes, "The right answer changes with the tags. The machine's does not")
    for row, (by, tagged) in zip(axes, tags.items()):
        says = machine(drawings[0], tagged[:4])
        for ax, i, tag in zip(row, [0, 1, 2, 3, 4, 4], [*tagged, says]):
            frame(ax, drawings[0, i], tag)
        row[0].set_ylabel(f"{by}s")
        row[4].set_xlabel("right")
        row[5].set_xlabel("machine")

# %% [markdown]
# Training on tasks about characters has built a single notion of "alike" into $\theta$. The task lives in
# $D_\text{train}$; whether a learner can read it there is another matter.
#
# The second way to break needs no learner at all. Take the third drawing away:

# %%
with see.drawing(alt="Two rows, same drawings, same tags, two answers.", figsize=(5, 3.6), panels=(2, 4)) as axes:
    headline(axes, "Same support, same query, two right answers")
    for row, tagged in zip(axes, ["ABCA", "ABCB"]):
        for ax, image, tag in zip(row, drawings[0, [0, 1, 3, 4]], tagged):
            frame(ax, image, tag)
    axes[0, 0].set_ylabel("characters")
    axes[1, 0].set_ylabel("writers")

# %% [markdown]
# Same drawings, same tags, two right answers. The two tasks have the same $D_\text{train}$ and the same $x$, so
# *every* function $f_\theta(D_\text{train}, x)$ gives them one answer. Let a coin choose the task, and nobody is right
# more than half the time. A small $D_\text{train}$ can fail to say what is asked.

# %% [markdown]
# ## The map of the course
#
# Every lecture has the same function and another $D_\text{train}$, or another way to read it.

# %% jupyter={"source_hidden": true}
MAP = [  # lecture, the tags of D_train's examples ("." is untagged), how f reads it
    ("01 multi-task", [], "the number of the task switches parts of one network"),
    ("02 fine-tuning", "ABCABCABCABC", "many gradient steps, on some of the layers"),
    ("03 black box", "ABC", "one forward pass of a network that takes examples in"),
    ("04 gradient", "ABC", "a few gradient steps from a learned start"),
    ("05 metric", "ABC", "compares the query with each of them"),
    ("06 three families", "ABC", "03, 04 and 05 on the same tasks, side by side"),
    ("07 equivariance", "ABC", "gradient steps that keep a symmetry"),
    ("later: adaptation", "......", "takes the style of the inputs from untagged ones"),
    ("later: editing", "A", "changes one answer and leaves the others alone"),
    ("later: prompts", "ABC", "a language model reads them as text"),
]

# %% jupyter={"source_hidden": true}
with see.drawing(alt="For each lecture: what D_train holds and how it is read.", figsize=(7.8, 4.4)) as ax:
    for y, (lecture, held, reads) in enumerate(MAP):
        ax.text(0, y, lecture, va="center", fontweight="bold")
        ax.text(10, y, reads, va="center")
        for i, tag in enumerate(held):
            colour = {"A": see.ORANGE, "B": see.SKY, "C": see.GREEN}.get(tag, "white")
            ax.scatter(4.4 + 0.42 * i, y, marker="s", s=110, color=colour, edgecolor=see.GREY)
            ax.text(4.4 + 0.42 * i, y, tag.strip("."), ha="center", va="center", fontsize=9)
        if not held:
            ax.text(4.25, y, "“task 2”", va="center", color=see.BLUE, fontweight="bold")
    for x, words in [(0, "lecture"), (4.25, "$D_{train}$"), (10, "how $f$ reads it")]:
        ax.text(x, -1, words, va="center", color=see.GREY)
    ax.set_title("One function, other training sets")
    ax.set(xlim=(-0.1, 21), ylim=(len(MAP) - 0.5, -1.5))
    ax.axis("off")

# %% [markdown]
# ## Your turn
#
# **1. Be the learner.** Each row is a task. The tags name characters in some rows, writers in others. Tag the queries.

# %% jupyter={"source_hidden": true}
puzzles = kshot.CharacterOrWriter(drawn, characters.alphabet).sample(4, seed(12))
with see.drawing(alt="Four rows of four tagged drawings and a query.", figsize=(6, 6.3), panels=(4, 5)) as axes:
    headline(axes, "Tag the queries")
    for t, row in enumerate(axes):
        order = torch.arange(4).roll(t)
        images = torch.cat([puzzles.support_x[t, order], puzzles.query_x[t]])[:, 0]
        for ax, image, tag in zip(row, images, [*puzzles.support_y[t, order].tolist(), "?"]):
            frame(ax, image, str(tag))

# %%
my_tags = [None, None, None, None]  # 0, 1 or 2 for each row's query

kshot.check("by hand", (puzzles, my_tags))

# %% [markdown]
# **2. Sample an episode.** `images` has shape `[classes, drawings, 1, 28, 28]`. Draw `ways` classes, then
# `shots + queries` drawings of each. Return one task, without the leading tasks axis. All the chance you need is in
# `torch.randperm(n, generator=generator)`.


# %%
def episode(images, ways, shots, queries, generator): ...  # return support_x, support_y, query_x, query_y


kshot.check("episode", episode)

# %% [markdown]
# <details><summary>A hint, if you are stuck</summary>
#
# The position of a class in the draw can be its label: the first class drawn gets 0, the next 1, and so on. Split each
# class's drawings once, `order[:shots]` and `order[shots:shots + queries]`, and nothing can be in both.
#
# </details>
#
# **3. The smallest learner, from memory.** Each query gets the tag of the support drawing at the smallest Euclidean
# distance in pixels. Do not scroll up.


# %%
def my_neighbour(support_x, support_y, query_x): ...


kshot.check("neighbour", my_neighbour)

# %% [markdown]
# ## Recap
#
# 1. The task lives in $D_\text{train}$, not in the image: exchange two tags and the right answer is exchanged.
# 2. A task is $\{p(x), p(y \mid x), \mathcal{L}\}$; we see it as support and query; N-way K-shot says how much support.
# 3. A network that takes only $x$ guesses on new tasks. A learner is $\hat y = f_\theta(D_\text{train}, x)$.
# 4. Multi-task, transfer and meta-learning differ in what is given when. All three need tasks that share structure.
# 5. A learner can read $D_\text{train}$ and answer another question; $D_\text{train}$ can fail to say what is asked.
#
# **The next question.** If tasks share structure, how much should their models share? Sometimes two related tasks do
# better apart.
#
# ## Sources
#
# - Caruana, *Multitask Learning* (1997): several tasks, one representation.
# - Thrun, *Is Learning the n-th Thing Any Easier Than Learning the First?* (1996): why earlier tasks help a new one.
# - Lake, Salakhutdinov and Tenenbaum, *Human-level concept learning through probabilistic program induction* (2015).
# - Vinyals et al., *Matching Networks for One Shot Learning* (2016): N-way K-shot episodes.
# - Snell, Swersky and Zemel, *Prototypical Networks for Few-shot Learning* (2017): the machine of this lecture.
