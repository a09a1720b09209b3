"""Task distributions: what can be sampled for episodes. Each is one class; characters, curves and linear functions."""

from kshot.tasks.characters import CharacterOrWriter, FewShot, turn
from kshot.tasks.curves import GaussianProcessCurves, SineOrLine, Sinusoids, sinusoid
from kshot.tasks.linear import LinearRegression

__all__ = [
    "CharacterOrWriter",
    "FewShot",
    "GaussianProcessCurves",
    "LinearRegression",
    "SineOrLine",
    "Sinusoids",
    "sinusoid",
    "turn",
]
