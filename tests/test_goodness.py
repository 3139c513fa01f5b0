"""goodness.py, predictive.py, goodness_words.py: what a model explains of a recording, and what it does not."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from neulvm_neo.constant_rates import constant_rates_log_likelihood
from neulvm_neo.goodness import goodness_of_fit
from neulvm_neo.predictive import Check, fails_below, two_sided_p_value

BIN = 0.002
NAMES = ("E", "I")
LABELS = np.array([0, 0, 0, 1, 1])


class Coins:
    """A model of which everything is known: neurons that fire with their rates (Hz), times a common `course`, and not
    within `silent` bins of their last spike."""

    def __init__(self, rates=(10, 10, 10, 25, 25), silent=0, course=None, lengths=(1500, 1000)):
        self.p = np.asarray(rates) * BIN
        self.silent, self.lengths = silent, lengths
        self.course = (lambda time: np.ones(time.size)) if course is None else course

    def __call__(self, rng):
        return self.with_chances(rng)[0]

    def with_chances(self, rng):
        return tuple(zip(*(self._trial(n, rng) for n in self.lengths), strict=True))

    def _trial(self, n_bins, rng):
        course = self.course(np.arange(n_bins) * BIN)
        if not self.silent:
            chances = self.p * course[:, None]
            return (rng.random(chances.shape) < chances).astype(float), chances
        spikes, chances = np.zeros((n_bins, self.p.size)), np.zeros((n_bins, self.p.size))
        last = np.full(self.p.size, -self.silent - 1)
        for t in range(n_bins):
            chances[t] = np.where(t - last > self.silent, self.p * course[t], 0.0)
            spikes[t] = rng.random(self.p.size) < chances[t]
            last[spikes[t] > 0] = t
        return spikes, chances

    def chances_of(self, trials):
        """What this model predicts of the spikes of another one."""
        predicted = []
        for spikes in trials:
            last = np.full(self.p.size, -self.silent - 1)
            course, rows = self.course(np.arange(len(spikes)) * BIN), []
            for t, row in enumerate(spikes):
                rows.append(np.where(t - last > self.silent, self.p * course[t], 0.0))
                last[row > 0] = t
            predicted.append(np.array(rows))
        return predicted


def judge(model, truth, seed=0, n_replicates=100, **changes):
    counts = truth(np.random.default_rng(100 + seed))
    settings = dict(
        names=NAMES, neuron_ids=tuple("abcde"), bin_size=BIN, correlation_window=0.05, n_replicates=n_replicates,
        rng=np.random.default_rng(seed),
    ) | changes  # fmt: skip
    return goodness_of_fit(counts, model.chances_of(counts), -1000.0, LABELS, model, **settings)


@pytest.fixture(scope="module")
def right():
    return judge(Coins(silent=2), Coins(silent=2))


@pytest.fixture(scope="module")
def wrong():
    return judge(Coins((4, 4, 4, 25, 25)), Coins((10, 10, 22, 25, 25)))


def failed(found):
    return {(check.quantity, check.populations) for check in found.checks if check.failed}


def test_of_a_right_model_hardly_anything_fails(right):
    assert len(failed(right)) <= 2  # of 21 checks; 0.4 by chance
    assert np.all(right.neurons.p_value > 0.001) and right.pooled.p_value[0] > 0.001
    assert np.all(right.rate_p_value > 0.004)
    assert {check.quantity for check in right.checks} == {"rate", "rate spread", "CV", "LV", "power", "correlation"}
    assert len(right.checks) == 2 * (4 + 5) + 3


def test_p_values_of_right_models_are_spread_evenly():
    model = Coins((20, 20, 20, 20, 20), lengths=(400,))
    found = [judge(model, model, seed=seed, n_replicates=20) for seed in range(12)]
    p = np.array([check.p_value for one in found for check in one.checks if check.quantity == "rate"])
    assert 0.25 < p.mean() < 0.8 and p.min() < 0.4
    assert np.mean([check.failed for one in found for check in one.checks]) < 0.2


def test_a_population_that_fires_too_little_is_named_with_both_rates(wrong):
    assert {("rate", ("E",)), ("rate spread", ("E",))} <= failed(wrong)
    assert ("rate", ("I",)) not in failed(wrong)
    (sentence,) = [s for s in wrong.failures if s.startswith("E fires")]
    model, recorded = re.fullmatch(
        r"E fires ([\d.]+) Hz in the model \(90% .* Hz\) where ([\d.]+) Hz .*", sentence
    ).groups()
    assert float(model) == pytest.approx(4, rel=0.2) and float(recorded) == pytest.approx(14, rel=0.2)


def test_its_intervals_are_shorter_and_its_spikes_more_than_predicted_from_the_past(wrong):
    said = "\n".join(wrong.failures)
    assert "intervals of E are shorter than the model predicts" in said
    assert re.search(r"E fired \d+ spikes where the model, given the past, expected \d+", said)
    assert wrong.populations.distance[0] > 2 * wrong.populations.band[0]
    assert wrong.populations.p_value[1] > 0.001


def test_neurons_unlike_the_others_are_named_where_their_population_as_a_whole_is_right():
    found = judge(Coins((20,) * 5), Coins((32, 8, 20, 20, 20)))
    assert ("rate", ("E",)) not in failed(found) and ("rate spread", ("E",)) in failed(found)
    assert found.populations.count_p_value[0] > 0.02
    (sentence,) = [s for s in found.failures if "number of spikes is not as predicted" in s]
    assert sentence.startswith("In 2 of 5 neurons") and "a (E)" in sentence and "b (E)" in sentence
    (sentence,) = [s for s in found.failures if "fire at rates that the model's neurons do not have" in s]
    assert re.search(r"a \(E\) 3\d(\.\d)? Hz instead of 1\d\.\d to 2\d(\.\d)? Hz", sentence) and "(I)" not in sentence


def test_a_rhythm_that_the_model_lacks_is_found_as_power_and_as_correlation():
    rhythm = Coins((20,) * 5, course=lambda time: 1 + np.sin(2 * np.pi * 6 * time))
    found = judge(Coins((20,) * 5), rhythm)
    power = {(check.populations, check.band) for check in found.checks if check.failed and check.quantity == "power"}
    assert {(("E",), (4.0, 8.0)), (("I",), (4.0, 8.0))} <= power
    assert ("correlation", ("E", "I")) in failed(found)
    said = "\n".join(found.failures)
    assert "Spikes of E fluctuate less in the model than recorded, 4-8 Hz: 0." in said
    assert "Neurons of E and I fire less together in the model (correlation in windows of 50 ms" in said


def test_powers_of_one_population_that_fail_alike_share_a_sentence():
    found = judge(Coins((20,) * 5), Coins((20,) * 5, course=lambda time: 1 + np.sign(np.sin(2 * np.pi * 4.1 * time))))
    failing = [c.band for c in found.checks if c.quantity == "power" and c.populations == ("E",) and c.failed]
    assert {(0.0, 4.0), (4.0, 8.0)} <= set(failing)
    (sentence,) = [s for s in found.failures if s.startswith("Spikes of E fluctuate less")]
    assert "below 4 Hz" in sentence and "4-8 Hz" in sentence


def test_bursts_between_pauses_are_more_variable_not_shorter_intervals():
    bursting = Coins((18,) * 5, course=lambda time: np.where(time % 1 < 0.25, 3.6, 0.04))
    said = "\n".join(judge(Coins((20,) * 5), bursting).failures)
    assert "intervals of E are more variable than the model predicts" in said


def test_neurons_more_regular_than_the_model_knows_are_found_by_their_intervals():
    found = judge(Coins((30,) * 5), Coins((100,) * 5, silent=12))
    assert {("CV", ("E",)), ("LV", ("E",)), ("CV", ("I",))} <= failed(found)
    said = "\n".join(found.failures)
    assert "E fires more irregularly in the model" in said
    assert "Successive intervals of I differ more in the model" in said


def test_what_a_silent_neuron_or_an_empty_population_leaves_unknown_is_not_judged():
    truth = Coins((0, 0, 0, 25, 25))
    found = judge(Coins((5, 5, 5, 25, 25)), truth, names=("E", "I", "unseen"))
    unknown = {(check.quantity, check.populations) for check in found.checks if not check.is_known}
    assert unknown == {("CV", ("E",)), ("LV", ("E",))}
    assert ("rate", ("E",)) in failed(found)
    assert not any("unseen" in check.populations for check in found.checks)
    assert np.isnan(found.populations.distance[[0, 2]]).all()
    assert any(s.startswith("E fired 0 spikes where the model, given the past, expected") for s in found.failures)
    assert "nan" not in found.summary()


def test_a_model_that_falls_silent_is_said_to():
    found = judge(Coins((0, 0, 0, 0, 0)), Coins())
    assert {("rate", ("E",)), ("rate", ("I",))} <= failed(found)
    assert any(s.startswith("E fires 0 Hz in the model (90% of replicates: 0 to 0 Hz) where") for s in found.failures)
    assert "too few spikes" in found.summary()


def test_the_summary_holds_every_check_and_every_sentence(wrong):
    text = wrong.summary()
    assert all(check.label in text for check in wrong.checks)
    assert all(f"- {sentence}" in text for sentence in wrong.failures)
    assert "5 neurons (E 3, I 2), 2 trials, 5 s" in text
    assert all(len(line) < 120 for line in text.split("What the model does not explain")[0].splitlines())


def test_bits_per_spike_are_those_beyond_constant_rates(right):
    counts = Coins(silent=2)(np.random.default_rng(100))
    n_spikes = sum(trial.sum() for trial in counts)
    for found, labels in ((right.bits_per_spike, None), (right.bits_per_spike_population, LABELS)):
        constant = constant_rates_log_likelihood(counts, labels=labels)
        assert found == pytest.approx((-1000.0 - constant) / n_spikes / np.log(2))


def test_a_seed_gives_the_same_for_any_number_of_threads():
    one, other = (judge(Coins(), Coins(), n_replicates=20, n_jobs=n_jobs) for n_jobs in (1, 2))
    assert_array_equal(one.replicates.rates, other.replicates.rates)
    assert_array_equal(one.neurons.residuals[0], other.neurons.residuals[0])
    assert not np.array_equal(
        one.replicates.rates, judge(Coins(), Coins(), seed=1, n_replicates=20).replicates.rates[:20]
    )


def test_ranks_bands_and_p_values_count_replicates():
    check = Check("rate", ("E",), 9.5, np.array([*range(99), np.nan]))
    assert check.rank == 10 and check.median == 49 and (check.lower, check.upper) == pytest.approx((4.9, 93.1))
    assert check.p_value == pytest.approx(2 * 11 / 100)
    assert Check("rate", ("E",), 1e3, np.arange(100.0)).failed
    assert not Check("rate", ("E",), np.nan, np.arange(100.0)).failed
    assert two_sided_p_value(0.0, np.zeros(50)) == 1
    assert fails_below(19) == pytest.approx(0.1)  # few replicates cannot say more
