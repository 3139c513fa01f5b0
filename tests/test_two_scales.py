"""The two scales compared: durations of states, spectra, what counts as a departure, and a tiny run of everything."""

import copy
import json

import numpy as np
import pytest

from neulvm_neo.experiments import two_scales
from neulvm_neo.experiments.registry import plain
from neulvm_neo.experiments.two_scales import Durations, Plan

EDGES = two_scales._bands((0.002,))[0]


def leads(*pieces, bin_size=0.004):
    """Activity of three populations from (seconds, Hz of the first, Hz of the second)."""
    return np.concatenate([np.tile([a, b, 25.0], (round(seconds / bin_size), 1)) for seconds, a, b in pieces])


def test_a_state_lasts_from_switch_to_switch_and_the_last_one_at_least_to_the_end():
    first = leads((2.0, 20, 5), (1.0, 5, 20), (0.5, 11, 12), (1.5, 5, 20), (0.7, 20, 5), (3.0, 5, 20))
    second = leads((1.0, 5, 20), (4.0, 20, 5))
    never = leads((9.0, 20, 5))
    found = two_scales.state_durations([first, second, never], 0.004)
    assert found.complete == pytest.approx([3.0, 0.7])  # a moment without a clear lead ends nothing
    assert found.cut == pytest.approx([3.0, 4.0])


def test_durations_that_are_cut_off_do_not_make_states_look_short():
    rng = np.random.default_rng(0)
    lasting, seen = rng.exponential(5.0, 4000), rng.uniform(0, 15.0, 4000)
    durations = Durations(lasting[lasting <= seen], seen[lasting > seen])
    share, times = np.array(two_scales._outlast(durations)), np.array(two_scales._times())
    known = np.isfinite(share)
    assert 10 < times[known].max() <= 15
    early = times < 10
    np.testing.assert_allclose(share[early], np.exp(-times[early] / 5.0), atol=0.04)
    assert np.isnan(two_scales._outlast(Durations(np.zeros(0), np.array([3.0])))).all()


def test_the_log_rank_test_tells_long_states_from_short_ones():
    rng = np.random.default_rng(1)
    short, same, long = (Durations(rng.exponential(m, 200), np.full(5, 9.0)) for m in (3.0, 3.0, 6.0))
    assert two_scales._log_rank(short, same) > 0.01
    assert two_scales._log_rank(short, long) < 1e-4
    assert np.isnan(two_scales._log_rank(short, Durations(np.zeros(0), np.array([9.0]))))


@pytest.mark.parametrize("bin_size", [0.001, 0.002, 0.004])
def test_white_noise_has_the_same_density_in_all_bins(bin_size):
    rng, density = np.random.default_rng(2), 0.05  # Hz²/Hz, one-sided: 2 variance Δt
    noise = 10 + np.sqrt(density / (2 * bin_size)) * rng.standard_normal((4, round(40 / bin_size), 3))
    power = two_scales.spectrum(list(noise), bin_size, EDGES)
    for values in power.values():
        known = np.isfinite(values)
        assert known.sum() > 15
        np.testing.assert_allclose(values[known][3:], density, rtol=0.35)
        assert values[known].mean() == pytest.approx(density, rel=0.1)


def test_an_oscillation_is_in_its_band_and_in_its_population():
    t = np.arange(10_000) * 0.002
    activity = (
        10 + np.outer(np.sin(2 * np.pi * 30 * t), [0.0, 0.0, 5.0]) + 0.01 * np.random.default_rng(3).random((10_000, 3))
    )
    power = two_scales.spectrum([activity], 0.002, EDGES)
    band = int(np.nanargmax(power["inhibitory"]))
    assert EDGES[band] <= 30 < EDGES[band + 1]
    assert np.nanmax(power["inhibitory"]) > 1e4 * np.nanmax(power["excitatory"])


def test_the_error_of_a_spectrum_is_the_log_of_its_factor_between_2_and_100_hz():
    reference = {name: np.linspace(1.0, 2.0, len(EDGES) - 1) for name in ("excitatory", "inhibitory")}
    doubled = {name: 2 * values for name, values in reference.items()}
    assert two_scales._spectrum_error(reference, reference, EDGES) == 0.0
    assert two_scales._spectrum_error(doubled, reference, EDGES) == pytest.approx(np.log(2))
    slow = {name: np.where(EDGES[1:] < 2, 9.0, values) for name, values in reference.items()}
    assert two_scales._spectrum_error(slow, reference, EDGES) == 0.0


# ---- a run, however small


TINY = Plan(2, 6.0, (0.002, 0.004), (0.5, 1.0), 0.0002)


@pytest.fixture(scope="module")
def result():
    kept, said = [], []
    found = two_scales.run(
        seed=5, quick=True, say=said.append, checkpoint=lambda p: kept.append(len(p["rows"])), plan=TINY
    )
    assert kept == list(range(1, 8)) and len(said) == 7
    return json.loads(json.dumps(plain(found)))


def test_all_conditions_are_there_under_their_names(result):
    names = [
        "microscopic, N x 0.5", "second-order, 2 ms, N x 0.5", "microscopic", "second-order, 2 ms",
        "second-order, 4 ms", "euler, 2 ms", "euler, 4 ms",
    ]  # fmt: skip
    assert [row["condition"] for row in result["rows"]] == names
    for key in two_scales.EXPERIMENT.keys:
        expected = [name for name in names if key != "spectrum_error" or not name.startswith("microscopic")]
        assert list(result[key]) == expected
        assert all(value is None or np.isfinite(value) for value in result[key].values())


def test_our_step_has_the_rates_of_the_network_and_the_papers_has_not(result):
    inhibitory = result["inhibitory"]
    for name in ("second-order, 2 ms", "second-order, 4 ms"):
        assert inhibitory[name] == pytest.approx(inhibitory["microscopic"], rel=0.01)
        assert result["low"][name] == pytest.approx(result["low"]["microscopic"], rel=0.12)
    assert inhibitory["euler, 4 ms"] > 1.015 * inhibitory["microscopic"]
    assert result["low"]["euler, 4 ms"] < 0.75 * result["low"]["microscopic"]
    error = result["spectrum_error"]
    assert error["second-order, 2 ms"] < error["euler, 2 ms"] < error["euler, 4 ms"]


def test_small_networks_switch_more_often(result):
    assert result["switches"]["microscopic, N x 0.5"] > result["switches"]["microscopic"]
    assert result["switches"]["second-order, 2 ms, N x 0.5"] > result["switches"]["second-order, 2 ms"]


def test_the_figure_and_the_table_need_the_file_only(result):
    figure = two_scales.figure(result)
    assert len(figure.axes) == 6
    lines = two_scales.summary(result)
    assert sum(line.startswith(("microscopic", "second-order", "euler")) and "±" in line for line in lines) >= 7
    assert lines[: len(result["failures"])] == result["failures"]
    assert "10.3 ± 2.7" in lines[-1]


def test_a_departure_is_beyond_the_tolerance_and_the_errors_and_is_said_first(result):
    changed = copy.deepcopy(result)
    for row in changed["rows"]:
        row |= {name: [20.0, 0.1] for name in ("high", "low", "inhibitory", "switches")}
    assert two_scales._failures(changed["rows"]) == []
    ours = next(row for row in changed["rows"] if row["condition"] == "second-order, 4 ms")
    ours["low"] = [20.9, 0.01]  # beyond the errors, within 5 %
    ours["high"] = [24.0, 3.0]  # beyond 5 %, within the errors
    assert two_scales._failures(changed["rows"]) == []
    ours["switches"] = [14.0, 0.1]
    (said,) = two_scales._failures(changed["rows"])
    assert said.startswith("second-order, 4 ms: 14.00 switches per 100 s, the network 20.00")
    assert two_scales.summary(changed | {"failures": [said]})[0] == said


def test_the_same_seed_gives_the_same_result(result):
    plan = TINY._replace(sizes=(0.5,))
    one, two = (plain(two_scales.run(seed=5, quick=quick, plan=plan)) for quick in (True, False))
    assert one == two
