"""goodness_figure.py: the numbers of a GoodnessOfFit, drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose

from neulvm_neo import goodness_figure
from neulvm_neo.goodness import goodness_of_fit
from neulvm_neo.plotting import population_colors

NAMES = ("E", "I", "unseen")
LABELS = np.array([0, 0, 0, 1, 1])


def coins(rates):
    return lambda rng: [(rng.random((2000, 5)) < np.asarray(rates) * 0.002).astype(float)]


def judged(recorded=(30, 30, 0, 20, 20), model=(10, 10, 10, 20, 20)):
    counts = coins(recorded)(np.random.default_rng(0))
    predicted = [np.tile(np.asarray(model) * 0.002, (len(trial), 1)) for trial in counts]
    return goodness_of_fit(
        counts, predicted, -1000.0, LABELS, coins(model), names=NAMES, neuron_ids=tuple("abcde"), bin_size=0.002,
        correlation_window=0.05, n_replicates=30, rng=np.random.default_rng(1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return judged()


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_one_figure_holds_everything_and_can_be_saved(found, tmp_path):
    figure = goodness_figure.plot_goodness_of_fit(found, title="a recording")
    figure.savefig(tmp_path / "goodness.png")
    assert (tmp_path / "goodness.png").stat().st_size > 10_000
    assert len(figure.axes) == 3 + len(NAMES)
    n_failed = sum(check.failed for check in found.checks)
    assert figure.axes[0].get_title(loc="left").endswith(f"{n_failed} of {len(found.checks)} checks fail")


def test_a_recording_without_any_spike_can_be_drawn(tmp_path):
    figure = goodness_figure.plot_goodness_of_fit(judged(recorded=(0,) * 5, model=(0,) * 5))
    figure.savefig(tmp_path / "silence.png")


def test_every_check_is_a_row_with_its_recorded_value_in_half_bands(found):
    axes = goodness_figure.plot_checks(found)
    assert [text.get_text() for text in axes.get_yticklabels()] == [check.label for check in found.checks]
    places = {int(line.get_ydata()[0]): line.get_xdata()[0] for line in axes.lines if len(line.get_ydata()) == 1}
    known = [row for row, check in enumerate(found.checks) if check.is_known]
    assert sorted(places) == known
    for row in known:
        check, place = found.checks[row], places[row]
        if abs(place) < 6:
            edge = check.upper if place > 0 else check.lower
            assert check.median + abs(place) * (edge - check.median) == pytest.approx(check.recorded)
        assert np.sign(place) == np.sign(check.recorded - check.median)


def test_rates_are_drawn_over_the_band_of_their_population(found):
    axes = goodness_figure.plot_rates(found)
    drawn = [line.get_ydata() for line in axes.lines if line.get_marker() == "o" and len(line.get_ydata())]
    assert_allclose(drawn[0], np.sort(found.recorded.rates[:3]))
    assert_allclose(drawn[1], np.sort(found.recorded.rates[3:]))
    assert [text.get_text() for text in axes.get_xticklabels()] == ["E", "I"]


def test_residuals_reach_as_far_from_zero_as_their_ks_distance(found):
    axes = goodness_figure.plot_residuals(found)
    colors = population_colors(3)
    for k in (0, 1):
        (line,) = [x for x in axes.lines if x.get_label() == NAMES[k]]
        assert to_hex(line.get_color()).upper() == colors[k]
        assert np.abs(line.get_ydata()).max() == pytest.approx(found.populations.distance[k])


def test_spectra_show_the_recording_and_leave_a_silent_population_empty(found):
    axes = goodness_figure.plot_spectra(found)
    assert len(axes) == 3 and len(axes[0].lines) == 2 and len(axes[2].lines) == 1
    frequencies, powers = axes[0].lines[0].get_data()
    assert np.all(np.diff(frequencies) > 0)
    low = found.recorded.frequencies < 3  # one by one there
    assert_allclose(powers[: low.sum()], found.recorded.spectrum[low, 0])
