"""Pulses: trials are the same until the pulse, switches are switches, and fits are judged as the truth is."""

import json

import numpy as np
import pytest
import quantities as pq
from scipy.stats import fisher_exact

from neulvm_neo.experiments import perturbation, pulses
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.experiments.perturbation import Plan
from neulvm_neo.experiments.registry import plain

ONSET = round(pulses.SHOWN / 0.004)


def made_up(*pieces):
    """Activity of two populations from (seconds, Hz of the first, Hz of the second)."""
    return np.concatenate([np.tile([a, b], (round(seconds / 0.004), 1)) for seconds, a, b in pieces]).astype(float)


@pytest.mark.parametrize(
    "after, switched",
    [
        ([(0.5, 20, 5)], False),
        ([(0.1, 20, 5), (0.4, 5, 20)], True),
        ([(0.2, 5, 20), (0.3, 20, 5)], False),  # there and back
        ([(0.2, 5, 20), (0.3, 12, 11)], True),  # no clear lead afterwards: the last clear one counts
        ([(0.5, 12, 11)], False),
    ],
)
def test_a_switch_is_a_last_clear_lead_of_the_other_population(after, switched):
    assert pulses.has_switched(made_up((0.1, 20, 5), *after)) is switched


@pytest.mark.parametrize(
    "after, silenced",
    [
        ([(0.012, 150, 5), (0.024, 1, 1), (0.464, 5, 20)], True),
        ([(0.012, 150, 5), (0.008, 1, 1), (0.48, 5, 20)], False),  # too short
        ([(0.1, 20, 5), (0.1, 0, 0), (0.3, 5, 20)], False),  # too late
        ([(0.1, 0, 20), (0.4, 5, 20)], False),  # one of them only
    ],
)
def test_both_populations_are_silenced_before_a_rebound(after, silenced):
    assert pulses.was_silenced(made_up((0.1, 20, 5), *after)) is silenced


@pytest.mark.parametrize("scale", [pulses.spiking, pulses.mesoscopic])
def test_trials_are_bit_for_bit_the_same_until_the_pulse(scale):
    trials = pulses.pulse_trials(scale(winner_take_all()), 30.0, 2, seed=5)
    assert trials.n == 2 <= trials.n_tries
    for pulsed, target in (("active", 0), ("silent", 1)):
        np.testing.assert_array_equal(trials.activity[pulsed][:, :ONSET], trials.activity["none"][:, :ONSET])
        at_pulse = trials.activity[pulsed][:, ONSET : ONSET + 2].mean(axis=1)
        without = trials.activity["none"][:, ONSET : ONSET + 2].mean(axis=1)
        assert np.all(at_pulse[:, target] > 60) and np.all(without[:, target] < 50)
        assert np.all(at_pulse[:, 1 - target] < 50)
    assert np.all(
        trials.activity["none"][:, :ONSET, 0].mean(axis=1) > trials.activity["none"][:, :ONSET, 1].mean(axis=1)
    )


def test_whole_populations_answer_a_pulse_as_their_neurons_do():
    spiking, mesoscopic = (
        pulses.pulse_trials(scale(winner_take_all()), 30.0, 15, seed=8, pulsed=("silent",)).activity["silent"]
        for scale in (pulses.spiking, pulses.mesoscopic)
    )
    ours, true = (activity[:, ONSET : ONSET + 2, 1].mean(axis=0) for activity in (mesoscopic, spiking))
    np.testing.assert_allclose(ours, true, rtol=0.1, atol=10.0)  # in bins of 4 ms 148 and 96 Hz in place of 208 and 36


def test_activity_is_sorted_by_who_leads_and_trials_without_a_state_do_not_count():
    def simulate(stimulus, seed):
        """No state in every third trial, else the first or the second population leads; pulses reverse them."""
        high, low = [(20.0, 5.0), (5.0, 20.0), (12.0, 12.0)][seed % 3]
        activity = np.tile([high, low, 25.0], (len(stimulus), 1))
        onset = np.flatnonzero(stimulus.any(axis=1))
        if onset.size:
            activity[onset[0] :, :2] = activity[onset[0] :, 1::-1]
        return activity

    trials = pulses.pulse_trials(simulate, 1.0, 12, seed=1)
    assert trials.n == 12 < trials.n_tries
    assert 0 < trials.n_first < 12
    assert trials.activity["none"][:, :, 0].min() == 20.0 and trials.activity["none"][:, :, 1].max() == 5.0
    assert not trials.switched["none"].any()
    assert trials.switched["active"].all() and trials.switched["silent"].all()
    assert not trials.rebound["active"].any()


def test_a_network_without_states_gives_no_trials_instead_of_waiting_for_ever():
    trials = pulses.pulse_trials(lambda stimulus, seed: np.full((len(stimulus), 3), 10.0), 1.0, 3, seed=1)
    assert (trials.n, trials.n_tries) == (0, 3 * pulses.MOST_TRIES)
    assert trials.switched["active"].shape == (0,) and trials.activity["none"].shape[0] == 0


def test_clopper_and_pearson():
    assert pulses.interval(0, 100) == pytest.approx((0.0, 1 - 0.025**0.01))
    low, high = pulses.interval(40, 100)
    assert pulses.interval(60, 100) == pytest.approx((1 - high, 1 - low))
    assert pulses.interval(0, 0) == (0.0, 1.0)


def test_a_perfect_models_chance_is_that_of_simulated_pairs_of_experiments():
    rng = np.random.default_rng(0)
    p = rng.beta(30.5, 70.5, 20_000)
    low, high = pulses.interval(30, 100)
    share = rng.binomial(100, p) / 100
    assert pulses.chance_inside(30, 100, 100) == pytest.approx(np.mean((share >= low) & (share <= high)), abs=0.01)
    assert np.isnan(pulses.chance_inside(0, 0, 100))


def test_prediction_bands_hold_what_many_models_do_as_often_as_they_say():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(300):
        *p, true = rng.beta(2.0, 3.0, size=21)  # of 20 models, and of a truth like one of them
        low, high = pulses.prediction_band([(rng.binomial(25, x), 25) for x in p], 100)
        inside.append(low <= rng.binomial(100, true) / 100 <= high)
    assert 0.84 < np.mean(inside) < 0.96
    assert pulses.prediction_band([(0, 0), (50, 100)], 100) == pulses.prediction_band([(50, 100)], 100)
    assert pulses.prediction_band([(0, 0)], 100) == (0.0, 1.0)


def test_counts_differ_where_a_test_says_so():
    assert pulses.differ([0, 0], [10, 100]) == 1.0
    assert pulses.differ([20, 100], [45, 100]) == pytest.approx(fisher_exact([[20, 80], [45, 55]]).pvalue)


# ---- the experiment, with circuits in place of fits


@pytest.fixture(scope="module")
def result():
    """The true circuit, one that has a single state, and one whose second population is weak; read from a file."""
    truth = winner_take_all()
    given = [
        truth,
        truth.replace(J=np.zeros((3, 3)) * pq.mV, u_rest=6 * pq.mV),
        truth.replace(u_rest=[14.4, 13.0, 14.4] * pq.mV),
    ]
    kept, said = [], []
    found = perturbation.run(
        seed=2, quick=True, say=said.append, checkpoint=lambda partial: kept.append(len(partial["fits"])),
        plan=Plan(0, 24, False, {}), circuits=given,
    )  # fmt: skip
    assert kept == [1, 2, 3] and len(said) == 4
    return json.loads(json.dumps(plain(found)))


def test_pulses_to_the_silent_population_switch_more_often_and_those_to_the_active_one_make_rebounds(result):
    for who in ("truth", "mesoscopic_truth"):
        assert result[f"{who}_silent"][0] > result[f"{who}_active"][0] >= result[f"{who}_rebound"][0] > 0
        assert result[f"{who}_none"][0] < result[f"{who}_silent"][0]
        assert result[f"{who}_silent"][1] == 24
    assert result["truth_silent_above_active"] is True


def test_the_true_circuit_does_as_the_truth_and_others_do_not(result):
    true, stateless, biased = result["fits"]
    for pulsed in ("active", "silent", "none"):
        tables = [[k, n - k] for k, n in (true[f"model_{pulsed}"], result[f"truth_{pulsed}"])]
        assert fisher_exact(tables).pvalue > 0.01
    assert true["silent_above_active"]
    assert stateless["model_active"] == [0, 0] and not stateless["inside"] and not stateless["silent_above_active"]
    assert biased["n_first"] > 20  # the weak one hardly ever leads
    assert not biased["inside_silent"] and biased["model_silent"][0] < result["truth_silent"][0]


def test_a_fit_is_inside_if_both_probabilities_lie_in_the_intervals_of_the_truth(result):
    for row in result["fits"]:
        for pulsed in ("active", "silent"):
            switches, trials = row[f"model_{pulsed}"]
            low, high = pulses.interval(*result[f"truth_{pulsed}"])
            assert result[f"truth_interval_{pulsed}"] == [low, high]
            assert row[f"inside_{pulsed}"] == bool(trials and low <= switches / trials <= high)
        assert row["inside"] == (row["inside_active"] and row["inside_silent"])
        tests = [pulses.differ(row[f"model_{pulsed}"], result[f"truth_{pulsed}"]) for pulsed in ("active", "silent")]
        assert row["compatible"] == bool(row["model_none"][1] and min(tests) > 0.05)
    assert result["n_inside"] == sum(row["inside"] for row in result["fits"])
    assert result["n_compatible"] == sum(row["compatible"] for row in result["fits"])
    assert result["n_fits"] == 3 and 1.5 < result["n_inside_expected"] < 3


def test_intervals_that_contain_the_truth_are_counted(result):
    assert result["covered"] == [0, 0]
    assert not any("intervals of the values" in line for line in perturbation.summary(result))
    assert any("the truth in 2 of 3" in line for line in perturbation.summary(result | {"covered": [2, 3]}))


def test_predictions_are_of_all_circuits_that_a_fit_leaves_possible(result, monkeypatch):
    truth = winner_take_all()
    possible = [truth, truth.replace(u_rest=[14.4, 13.0, 14.4] * pq.mV), truth.replace(J=np.zeros((3, 3)) * pq.mV)]
    fit = perturbation._Fit(truth, "converged", 0.0, draws=tuple(possible))
    source = perturbation._Stretch(0, None, None, 1)
    monkeypatch.setattr(perturbation, "_fitted", lambda *args: fit)
    trials = pulses.pulse_trials(pulses.spiking(truth), perturbation.AMPLITUDE, 24, [2, 1])
    row, _ = perturbation._one_fit(source, 1, 2, Plan(1, 12, False, {}, 3, 8), trials, 1, False)
    assert [n for _, n in row["drawn"]["silent"]] == [8, 8, 0]  # the last is always silent
    assert row["predicted_silent"] == np.sum(row["drawn"]["silent"], axis=0).tolist()
    assert row["bands"]["silent"] == list(pulses.prediction_band(row["drawn"]["silent"], 24))
    found = perturbation._of_all([row, *result["fits"]], trials)
    assert found["n_predicted"] == 1 and found["foretold"][1] == 2 and found["predicted_none"] == row["predicted_none"]
    share = row["predicted_active"][0] / 16
    assert found["errors"]["predicted"]["active"] == pytest.approx(abs(share - trials.switched["active"].mean()))
    told = plain(result | found)
    assert any(f"in {found['foretold'][0]} of 2." in line for line in perturbation.summary(told))
    assert "truth inside the bars" in perturbation.figure(told).axes[-1].get_title(loc="left")
    assert result["n_predicted"] == 0 and not any("prediction" in line for line in perturbation.summary(result))


def test_totals_are_sums_over_fits(result):
    for name in ("model_active", "model_silent", "model_none", "model_rebound", "mesoscopic_silent"):
        assert result[name] == np.sum([row[name] for row in result["fits"]], axis=0).tolist()


def test_what_did_not_hold_comes_first(result):
    lines = perturbation.summary(result)
    assert lines[0] == "2 of 3 fits: pulses to the silent population do not switch more often."
    assert f"{result['n_inside']} of 3 fits, fewer than 3" in lines[1]
    assert lines[2] == "1 of 3 fits have no state in which one population leads."
    assert any("rebounds" in line and "no state" not in line for line in lines)
    assert any("set before, on the true network" in line for line in lines)


def test_the_figure_shows_the_counts_of_every_outcome(result):
    figure = perturbation.figure(result)
    assert len(figure.axes) == 9
    told = [text.get_text() for axes in figure.axes for text in axes.texts]
    switches, trials = result["truth_silent"]
    assert f"Switch {switches}/{trials}" in told
    assert f"No-switch {trials - switches}/{trials}" in told


def test_traces_are_means_over_the_trials_of_an_outcome(result):
    traces = result["traces"]["truth"]
    for pulsed in ("active", "silent"):
        groups = traces[pulsed]
        assert groups["switch"]["n"] == result[f"truth_{pulsed}"][0]
        assert groups["switch"]["n"] + groups["stay"]["n"] == groups["stay"]["of"] == 24
    mean = np.array(traces["silent"]["switch"]["mean"])
    assert mean.shape == (round(0.6 / 0.004), 2)
    assert np.all(mean[:ONSET].mean(axis=0) > [15, 3]) and mean[:ONSET, 1].mean() < 9
    assert mean[-50:, 1].mean() > mean[-50:, 0].mean() + 5


def test_the_amplitude_is_the_weakest_that_switches_more_often_than_no_pulse():
    chosen, table = perturbation.calibrated_amplitude(4, n_trials=30, amplitudes=(1.0, 60.0))
    assert [row["mV"] for row in table] == [1.0, 60.0]
    assert table[0]["none"] == table[1]["none"]  # the same trials
    assert table[0]["p"] > 0.2 > 4 * table[1]["p"]
    assert table[1]["rebound"] == table[1]["active"]
    assert chosen == (60.0 if table[1]["p"] < 0.01 else None)


def test_a_fit_is_made_to_a_stretch_in_which_the_network_switches_and_kept_with_its_values():
    plan = Plan(1, 4, False, {"method": "viterbi", "n_init": 1, "max_iter": 1, "n_particles": 4})
    found = perturbation.run(seed=0, quick=True, plan=plan)
    (row,) = found["fits"]
    assert row["switches_in_training"] >= 1 and row["status"].startswith("stopped")
    assert set(row["values"]) == {
        "J_e1", "J_i", "J_e2", *(f"{name}[{p}]" for name in ("tau_m", "u_rest", "threshold") for p in ("E1", "E2", "I"))
    }  # fmt: skip
    assert any("did not end by convergence" in line for line in found["failures"])
    plain(found)


def test_stretches_do_not_overlap_and_are_those_of_the_recovery_study():
    first, second, third = perturbation._stretches(3, 3)
    assert [stretch.index for stretch in (first, second, third)] == [0, 2, 4]
    assert first.counts.shape == (2500, 9) and not np.array_equal(first.counts, second.counts)


@pytest.mark.slow
def test_the_rule_gives_the_amplitude():
    """As documented with `AMPLITUDE`."""
    for seed in (1, 2):
        chosen, _ = perturbation.calibrated_amplitude(seed)
        assert chosen == perturbation.AMPLITUDE
