"""The benchmarks of learners' numbers, at sizes of seconds: they report what they say, and oracles stay ahead."""

import json
import runpy
from pathlib import Path

import pytest

from kshot.learners.attention import InContextTransformer

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def beside_them():
    """As when they are run as scripts: they import what stands in their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield


@pytest.fixture(scope="module")
def sinusoid():
    script = runpy.run_path(str(BENCHMARKS / "sinusoid.py"))
    size = script["Size"](12, (0, 1), (5, 100), 5, 4, (0, 1, 5, 10), (1, 8))
    return script, script["measure"](size)


def test_sinusoid_reports_every_learner_at_every_shot_and_step(sinusoid):
    script, report = sinusoid
    kinds = list(script["KINDS"])
    assert [(r["learner"], r["shots"], r["steps"]) for r in report["rows"]] == [
        (kind, shots, steps) for shots in (10, 5) for kind in kinds for steps in (0, 1, 5, 10)
    ]
    assert all(len(row["by_seed"]) == 2 for row in report["rows"])
    assert {row["horizon"] for row in report["by_horizon"]} == {5, 100}
    assert len(report["by_amplitude"]) == 2 * 3 and set(kinds) < set(report["by_amplitude"][0])
    assert all(len(trials) == 5 for trials in report["trials"].values()), "every kind has the same trials of its rate"
    assert json.loads(json.dumps(report, allow_nan=False))


def test_sinusoid_learners_lie_between_the_oracle_and_their_start(sinusoid):
    _, report = sinusoid
    error = {(r["learner"], r["steps"]): r["mean"] for r in report["rows"] if r["shots"] == 10}
    assert report["floors"]["oracle"]["mean"] < 1e-6 < min(error.values())
    assert error["MAML", 10] < error["MAML", 0]
    assert error["MAML", 0] < error["From scratch", 0]


def test_sinusoid_table_has_a_line_for_each_learner_and_floor(sinusoid):
    script, report = sinusoid
    table = script["markdown"](report).splitlines()
    assert len(table) == 2 + len(report["rates"]) + len(report["floors"])
    assert len({line.count("|") for line in table}) == 1


def test_the_best_rate_is_that_of_the_least_error_and_divergence_counts_as_endless(sinusoid):
    best = sinusoid[0]["best"]
    trials = {0.01: {1: 2.0, 10: 2.0}, 0.1: {1: 1.0, 10: float("inf")}, 0.03: {1: 2.0, 10: 1.0}}
    assert best(trials) == 0.03


def test_joint_training_minimises_the_error_of_the_start_itself(sinusoid):
    script, _ = sinusoid
    joint = script["KINDS"]["Joint training"].build(0, 0.01)
    episodes = script["Sinusoids"](shots=4, queries=6).sample(3, script["torch"].Generator().manual_seed(0))
    losses = joint.losses(episodes)
    for t in range(3):
        both = zip(
            [*episodes.support_x[t], *episodes.query_x[t]], [*episodes.support_y[t], *episodes.query_y[t]], strict=True
        )
        squared = [(joint.net(x).item() - y.item()) ** 2 for x, y in both]
        assert losses[t].item() == pytest.approx(sum(squared) / 10, rel=1e-5)


@pytest.fixture(scope="module")
def curves():
    script = runpy.run_path(str(BENCHMARKS / "curves.py"))
    return script, script["measure"](script["Size"](40, (0, 1), 12, (1, 4, 9), 6))


def test_curves_are_best_predicted_by_the_exact_process(curves):
    script, report = curves
    exact = report["rows"]["Gaussian process (exact)"]
    for name, rows in report["rows"].items():
        for own, least in zip(rows, exact, strict=True):
            assert own["points"] == least["points"] and (own["mse"]["mean"] > least["mse"]["mean"] or rows is exact)
            if name in script["KINDS"]:
                assert own["nll"]["mean"] > least["nll"]["mean"] and len(own["nll"]["by_seed"]) == 2
    assert exact[2]["nll"]["mean"] < exact[1]["nll"]["mean"] < exact[0]["nll"]["mean"]
    assert json.loads(json.dumps(report, allow_nan=False))


def test_curves_measure_order_where_there_is_one(curves):
    _, report = curves
    assert report["order"]["Neural process"]["largest"] == 0 < report["order"]["LSTM"]["deviation"]
    assert report["at_context"]["Gaussian process (exact)"] < report["at_context"]["Neural process"]


@pytest.fixture(scope="module")
def in_context():
    script = runpy.run_path(str(BENCHMARKS / "in_context.py"))
    return script, script["measure"](InContextTransformer(3, width=8, heads=1, layers=1, points=8), 200)


def test_in_context_reports_each_variant_for_each_number_of_examples(in_context):
    script, report = in_context
    assert list(report["variants"]) == list(script["VARIANTS"])
    for variant in report["variants"].values():
        assert set(variant) == {"Transformer", *script["LEARNERS"]}
        assert all([row["k"] for row in rows] == list(range(7)) for rows in variant.values())
    assert json.loads(json.dumps(report, allow_nan=False))


def test_in_context_floors_and_oracles_are_where_theory_has_them(in_context):
    of = in_context[1]["variants"]["in distribution"]
    assert all(abs(row["mean"] - 1) < 3 * row["interval"] for row in of["Zero"])
    assert abs(of["Least squares"][1]["mean"] - 2 / 3) < 3 * of["Least squares"][1]["interval"]  # (d - k) / d
    assert of["Least squares"][3]["mean"] < 1e-6
    assert of["Transformer"][6]["mean"] > 0.5, "it was not trained"
    noisy = in_context[1]["variants"]["noise 0.5"]
    assert noisy["Ridge (knows the noise)"][4]["mean"] < noisy["Least squares"][4]["mean"]
    half = in_context[1]["variants"]["half the dimensions"]["Least squares"]
    assert half[1]["mean"] < 1e-6, "one dimension of three is known after one example"


def test_wrong_pairs_are_wrong(in_context):
    script, _ = in_context
    y = script["torch"].arange(3.0).view(1, 3, 1)
    assert script["mispaired"](y).flatten().tolist() == [2, 0, 1]


@pytest.mark.parametrize("name", ["sinusoid", "curves", "in_context"])
def test_a_quick_run_prints_its_table_and_claims_and_writes_nothing(name, monkeypatch, capsys):
    results = BENCHMARKS / "results" / f"{name}.json"
    before = results.read_bytes()
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--quick", "--episodes", "4"])
    runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "| ---" in printed.replace("|---", "| ---") and "held " in printed and "CPU seconds" in printed
    assert results.read_bytes() == before
