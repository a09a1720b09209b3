"""kshot: learn to learn. One signature for every few-shot learner: y = f(D_train, x).

Importing kshot needs only torch, numpy and safetensors; pictures and widgets (`kshot.see`, `kshot.predict`) and
the exercises (`kshot.check`) load when first used.
"""

from importlib import import_module

from kshot.data import Characters, characters, glyphs, omniglot
from kshot.devices import device
from kshot.episodes import Episodes, TaskDistribution
from kshot.learners.attention import SNAIL, InContextTransformer
from kshot.learners.fast_weights import MetaNetwork
from kshot.learners.gradient import MAML, Reptile
from kshot.learners.memory import MANN, LSTMLearner
from kshot.learners.metric import Matching, PixelNeighbour, Prototypical, Relation, Siamese
from kshot.learners.neural_process import NeuralProcess
from kshot.nets import Conv4
from kshot.pretrained import pretrained
from kshot.run import History
from kshot.scores import Result, evaluate
from kshot.tasks import CharacterOrWriter, FewShot, GaussianProcessCurves, LinearRegression, SineOrLine, Sinusoids
from kshot.train import fit

__version__ = "0.1.0"

__all__ = [
    "MAML",
    "MANN",
    "SNAIL",
    "CharacterOrWriter",
    "Characters",
    "Conv4",
    "Episodes",
    "FewShot",
    "GaussianProcessCurves",
    "History",
    "InContextTransformer",
    "LSTMLearner",
    "LinearRegression",
    "Matching",
    "MetaNetwork",
    "NeuralProcess",
    "PixelNeighbour",
    "Prototypical",
    "Relation",
    "Reptile",
    "Result",
    "Siamese",
    "SineOrLine",
    "Sinusoids",
    "TaskDistribution",
    "characters",
    "check",
    "device",
    "evaluate",
    "fit",
    "glyphs",
    "omniglot",
    "predict",
    "pretrained",
    "see",
]

_LAZY = {"see": "kshot.see", "predict": "kshot.see.predict:predict", "check": "kshot.exercises:check"}


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'kshot' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    found = import_module(module)
    found = getattr(found, attribute) if attribute else found
    globals()[name] = found
    return found
