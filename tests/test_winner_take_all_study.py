"""The comparison on the winner-take-all network: what is measured, told and drawn; rivals where they are installed."""

import importlib.util
import json
import os

import numpy as np
import pytest

from neulvm_neo.experiments import winner_take_all_study as study
from neulvm_neo.experiments.recovery import simulate_session
from neulvm_neo.experiments.registry import experiment, plain
from neulvm_neo.experiments.rival_process import NoAnswerError
from neulvm_neo.experiments.winner_take_all_rivals import RIVALS, Answer, ask, best_linear

TINY = study.Size(
    session=4.0, trial=1.0, n_trials=2, n_init=1, n_truth=2, settings={"max_iter": 1, "n_particles": 10},
    paper_settings={"max_iter": 1, "n_particles": 10}, long_glm=False, quick=True,
)  # fmt: skip
LABELS = np.repeat(np.arange(3), 3)


@pytest.fixture(scope="module")
def two_states():
    """Spikes of nine neurons for 12 s whose populations take turns every 3 s, and the activity (Hz) behind them."""
    rng = np.random.default_rng(0)
    first = np.sign(np.sin(2 * np.pi * np.arange(3000) / 1500))
    activity = np.stack([12 + 8 * first, 12 - 8 * first, np.full(3000, 25.0)], axis=1)
    counts = (rng.random((3000, 9)) < activity[:, LABELS] * 0.004).astype(int)
    return counts, activity[:, :2]


@pytest.fixture(scope="module")
def found():
    """A tiny run without rivals of other environments, and what it said."""
    said, kept = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "FREE", 2.0)
        patch.setattr(study, "SHOWN_FREE", 1.0)
        models = ("smoothing", "neulvm", "neulvm_paper", "gpfa")
        result = study.run(
            seed=3, quick=True, say=said.append, checkpoint=lambda partial: kept.append(json.dumps(plain(partial))),
            size=TINY, models=models,
        )  # fmt: skip
    return plain(result), said, kept


def test_the_registry_knows_it_with_its_rivals():
    assert experiment("winner-take-all") is study.EXPERIMENT
    assert set(study.EXPERIMENT.peers) == {"dynamax", "ssm", "elephant", "nemos"}


def test_every_model_has_the_figures_that_are_asked_for(found):
    result, _, _ = found
    assert set(result["models"]) == {
        "neulvm", "neulvm_paper", "neulvm_paper_by_p_y", "neulvm_before", "gpfa", "smoothing"
    }  # fmt: skip
    for name, row in result["models"].items():
        assert {"r_mean", "r_std", "switches_mean", "switches_std"} <= set(row) and row["n"] == 2
        values = [trial["models"][name].get("r") for trial in result["trials"]]
        if name != "neulvm_before":
            assert row["r_mean"] == pytest.approx(np.mean(values))
            assert row["r_linear_mean"] >= row["r_mean"] - 1e-9
    assert result["truth_switches_mean"] == pytest.approx(np.mean(result["truth_switches"]))
    assert result["models"]["neulvm_before"]["r_mean"] is None
    assert set(study.EXPERIMENT.keys) <= set(result)


def test_trials_do_not_overlap_and_each_is_fitted_by_itself(found):
    result, said, kept = found
    begins = [trial["begin"] for trial in result["trials"]]
    assert len(set(begins)) == 2 and all(begin % 1 == 0 and begin < 4 for begin in begins)
    values = [trial["models"]["neulvm"]["values"] for trial in result["trials"]]
    assert values[0] != values[1] and len(values[0]) == 12
    assert len(kept) == 8 and json.loads(kept[-1])["trials"] == result["trials"]
    assert any("neuLVM: r" in line for line in said)


def test_of_the_starts_as_published_the_best_joint_likelihood_counts_and_beside_it_the_best_p_y():
    session = simulate_session(2, 1.0, 3, "euler")
    trial = study._Trial(0, 0.0, session.counts, session.activity[:, :2], session.labels, (1, 2, 3))

    class Fit:
        scheme = "euler"
        circuit_ = study.winner_take_all()
        activity_ = session.activity

        def __init__(self, joint, p_y):
            self.trace_, self.log_likelihood_ = ({"log_likelihood": joint},), p_y
            self.result_ = type("Result", (), {"status": "converged", "kinds": ()})

    fits = iter([Fit(-10.0, -7.0), Fit(-5.0, -9.0)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "FREE", 1.0)
        patch.setattr(study, "_fit", lambda *_, **__: (next(fits), []))
        records = study._published(trial, TINY._replace(n_init=2))
    assert records["neulvm_paper"]["log_likelihood"] == -9.0
    assert records["neulvm_paper_by_p_y"]["log_likelihood"] == -7.0
    assert records["neulvm_paper"]["r"] == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_result_with_two_jobs(found):
    result, _, _ = found
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "FREE", 2.0)
        patch.setattr(study, "SHOWN_FREE", 1.0)
        again = plain(study.run(seed=3, quick=True, n_jobs=2, size=TINY, models=("smoothing", "neulvm")))
    for name in ("neulvm", "smoothing"):
        assert again["models"][name] == result["models"][name]


def test_a_rival_that_is_not_installed_has_a_row_that_says_so(tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'ssm'\" >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "FREE", 1.0)
        result = study.run(
            seed=1, quick=True, peer_pythons={"ssm": str(program)}, size=TINY, models=("smoothing", "slds")
        )
    result = plain(result)
    assert result["models"]["slds"]["r_mean"] is None and "No module named 'ssm'" in result["models"]["slds"]["missing"]
    assert any(failure.startswith("SLDS") for failure in result["failures"])
    assert any("SLDS" in line and "not installed" in line for line in study.summary(result))
    study.figure(result)


def test_switches_of_a_simulation_that_runs_away_do_not_count(two_states):
    counts, activity = two_states
    trial = study._Trial(0, 0.0, counts, activity, LABELS, (1, 2, 3))
    away = np.exp(np.linspace(0, 20, 500))[:, None] * np.ones(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "ask", lambda *_, **__: Answer(None, away, 0.02, True, {"strength": 1.0}))
        record = study._rival("glm", trial, TINY, {})
    assert record["ran_away"] and "switches" not in record and record["strength"] == 1.0


def test_the_summary_names_misses_first_and_stands_beside_the_paper(found):
    result, _, _ = found
    worse = json.loads(json.dumps(result))
    worse["models"]["neulvm"] |= {"r_mean": 0.5, "switches_mean": 0.0}
    worse["models"]["gpfa"]["r_mean"] = 0.6
    lines = study.summary(worse)
    assert lines[0].startswith("A quick run")
    assert lines[1] == "Not as in the paper: neuLVM's r is 0.50, in the paper 0.81"
    assert any("GPFA" in line and "0.60, no less" in line for line in lines[1:4])
    row = next(line for line in lines if line.startswith("neuLVM  "))
    assert "0.50" in row and "0.81 ± 0.02" in row and "7.8 ± 4.1" in row


def test_the_figure_shows_the_trial_the_free_simulations_and_the_table(found):
    result, _, _ = found
    titles = [axes.get_title(loc="left") for axes in study.figure(result).axes]
    for wanted in ("recorded spikes of one trial", "spiking network", "GPFA", "neuLVM before learning"):
        assert wanted in titles
    assert any(title.startswith("neuLVM, r = ") for title in titles)


def test_the_best_linear_transformation_explains_no_less_than_any_other():
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((200, 3))
    activity = latents @ rng.standard_normal((3, 2)) + 4 + 0.3 * rng.standard_normal((200, 2))
    error = np.square(best_linear(latents, activity) - activity).mean()
    assert error < 0.1 and error <= np.square(latents[:, :2] - activity).mean()


@pytest.mark.parametrize(
    "name, library, least, settings",
    [
        ("gpfa", "elephant", 0.9, None),
        ("hmm", "dynamax", 0.9, {"merge": 5, "n_states": [2], "n_starts": 3, "n_iter": 20}),
        ("plds", "dynamax", 0.9, {"n_steps": 10}),
        ("slds_laplace", "ssm", 0.8, None),
        ("glm", "nemos", None, {"strengths": [1e-2], "n_iter": 50}),
    ],
)
def test_a_rival_finds_two_states_that_are_plain_to_see(name, library, least, settings, two_states):
    python = os.environ.get(f"NEULVM_{library.upper()}_PYTHON")  # of an environment of its own
    if python is None and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; experiments/rival_process.py says how")
    counts, activity = two_states
    answer = ask(
        name, counts, activity, LABELS, bin_size=0.004, seconds=20.0, seed=1,
        python=python, settings=settings or RIVALS[name].quick,
    )  # fmt: skip
    assert answer.simulated.shape == (round(20.0 / answer.bin_size), 2)
    assert 5 < answer.simulated.mean() < 30
    if least is None:
        assert answer.inferred is None
    else:
        assert np.corrcoef(answer.inferred.ravel(), activity.ravel())[0, 1] > least


def test_a_fit_that_fails_says_why(two_states):
    counts, activity = two_states
    with pytest.raises(NoAnswerError, match="unexpected keyword argument") as caught:
        ask("gpfa", counts, activity, LABELS, bin_size=0.004, seconds=1.0, seed=1, settings={"n_wheels": 4})
    assert not caught.value.missing
