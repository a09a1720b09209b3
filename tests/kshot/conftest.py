"""What tests of exercises share: a typical wrong answer is told apart from all the others."""

import re

import pytest

from kshot.exercises import verdict


@pytest.fixture
def assert_told():
    """Asserts that a wrong answer gets its own sentence, and none of the other `wrong` ones'."""

    def check(name: str, answer, sentence: str, wrong: list[tuple]) -> None:
        said = verdict(name, answer)
        assert said is not None
        assert re.search(sentence, said), said
        others = {text for _, _, text in wrong if text != sentence}
        assert not any(re.search(text, said) for text in others), said

    return check
