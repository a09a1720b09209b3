"""A device that is not there is refused in a sentence, before anything is moved to it."""

import pytest
import torch

import kshot


def test_auto_is_a_device_that_computes():
    found = kshot.device()
    assert torch.ones(2, device=found).sum().item() == 2
    assert found.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    "name, backend, sentence",
    [
        ("cuda", torch.cuda, 'there is no CUDA GPU here .*: use "cpu"'),
        ("cuda:1", torch.cuda, "there is no CUDA GPU here"),
        ("mps", torch.backends.mps, "there is no MPS device here .*Apple chip"),
    ],
)
def test_what_is_absent_is_said(name, backend, sentence, monkeypatch):
    monkeypatch.setattr(backend, "is_available", lambda: False)
    with pytest.raises(ValueError, match=sentence):
        kshot.device(name)


def test_a_gpu_too_many_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="has only 1 CUDA GPU"):
        kshot.device("cuda:1")
    assert kshot.device("cuda:0") == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "tpu:0", ""])
def test_what_is_no_device_is_said(name):
    with pytest.raises(ValueError, match="a device is"):
        kshot.device(name)
