"""plotting.py: data in, axes out."""

from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import neo
import numpy as np
import pytest
import quantities as pq
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

from neulvm_neo import FitResult, PopulationActivity, PopulationClusterer, SpikeRecording, plotting

BLUE, VERMILLION = plotting.population_colors(2)


@pytest.fixture(autouse=True)
def clean_figures(monkeypatch):
    """Close what a test opened; showing a figure or changing the style of the user is a failure."""
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("plt.show() was called"))
    style = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == style


def trains(n=4):
    return [neo.SpikeTrain([1.1 + 0.1 * i, 1.5], units="s", t_start=1.0, t_stop=2.0) for i in range(n)]


def activity(names=("E", "I"), n_bins=50, **kw):
    n = np.arange(n_bins * len(names), dtype=float).reshape(n_bins, len(names)) % 7
    return PopulationActivity(n, np.full(len(names), 100), 0.002, 1.0, names, **kw)


def tick_texts(axes):
    return [(text.get_text(), to_hex(text.get_color()).upper()) for text in axes.get_yticklabels()]


def legend_texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_drawing_works(tmp_path):
    axes = plotting.plot_raster(trains())
    axes.figure.savefig(tmp_path / "raster.png")
    assert (tmp_path / "raster.png").stat().st_size > 1000


# --- raster ----------------------------------------------------------------------------------------------------------


def test_every_spike_is_in_the_raster_once():
    axes = plotting.plot_raster(trains(), labels=[0, 1, 0, 1])
    drawn = sorted((x, int(y)) for line in axes.lines for x, y in zip(*line.get_data(), strict=True))
    rows = [0, 2, 1, 3]  # population 0 first: neurons 0 and 2
    expected = sorted((x, rows[i]) for i in range(4) for x in (1.1 + 0.1 * i, 1.5))
    assert_allclose(drawn, expected)
    assert axes.get_xlim() == (1.0, 2.0)
    assert axes.get_xlabel() == "time (s)"


def test_populations_of_the_raster_have_their_names_and_colours():
    axes = plotting.plot_raster(trains(), labels=[1, 0, 1, 0], names=["E", "I"])
    assert tick_texts(axes) == [("E", BLUE), ("I", VERMILLION)]
    assert [to_hex(line.get_color()).upper() for line in axes.lines] == [BLUE, VERMILLION]


def test_a_population_keeps_its_colour_where_others_are_missing():
    axes = plotting.plot_raster(trains(2), labels=["I", "I"], names=["E", "I"])
    assert tick_texts(axes) == [("I", VERMILLION)]


def test_unassigned_neurons_are_grey_and_last():
    for labels, names in (([-1, 0, 0, 1], ["E", "I"]), (["unassigned", "E", "E", "I"], None)):
        axes = plotting.plot_raster(trains(), labels, names)
        assert [text for text, _ in tick_texts(axes)] == ["E", "I", "unassigned"]
        assert set(axes.lines[-1].get_ydata()) == {3.0}


def test_without_labels_neurons_are_numbered():
    axes = plotting.plot_raster(trains())
    assert axes.get_ylabel() == "neuron"
    assert len(axes.lines) == 1


def test_a_recording_a_trial_and_given_axes_are_accepted():
    recording = SpikeRecording.from_neo([trains(), trains()])
    _, given = plt.subplots()
    assert plotting.plot_raster(recording, trial=1, axes=given) is given
    with pytest.raises(ValueError, match="trial is 2, but the recording has 2 trials"):
        plotting.plot_raster(recording, trial=2)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="labels has 3 entries, but there are 4 neurons"):
        plotting.plot_raster(trains(), [0, 1, 0])
    with pytest.raises(ValueError, match=r"label 2 has no entry in names \('E', 'I'\)"):
        plotting.plot_raster(trains(), [0, 1, 2, 0], ["E", "I"])
    with pytest.raises(ValueError, match="label 'X' has no entry"):
        plotting.plot_raster(trains(), ["E", "X", "E", "E"], ["E", "I"])


def test_a_raster_of_silent_neurons_is_empty_and_no_error():
    silent = [neo.SpikeTrain([], units="s", t_stop=1.0)] * 3
    assert plotting.plot_raster(silent).lines[0].get_xdata().size == 0


# --- activity --------------------------------------------------------------------------------------------------------


def test_activity_has_one_row_per_population_in_hertz():
    shown = activity()
    axes = plotting.plot_population_activity(shown)
    assert axes.shape == (2,)
    for k, ax in enumerate(axes):
        assert_array_equal(ax.lines[-1].get_xdata(), shown.times)
        assert_array_equal(ax.lines[-1].get_ydata(), shown.activity[:, k])
        assert ax.get_ylabel() == f"{shown.names[k]} (Hz)"
        assert to_hex(ax.lines[-1].get_color()).upper() == plotting.population_colors(2)[k]
        assert ax.get_xlim() == pytest.approx((1.0, 1.1))


def test_all_populations_fit_into_one_axes():
    _, given = plt.subplots()
    axes = plotting.plot_population_activity(activity(), truth=activity(n_bins=25), axes=given)
    assert all(ax is given for ax in axes)
    assert legend_texts(given) == ["truth", "E", "I"]


def test_uncertainty_is_a_band_of_two_standard_deviations():
    axes = plotting.plot_population_activity(activity(n_std=np.full((50, 2), 1.0)))
    (band,) = axes[0].collections
    top = band.get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx((6 + 2 * 1.0) / (100 * 0.002))
    assert band.get_paths()[0].vertices[:, 1].min() == 0  # no negative rates
    assert "±2 s.d." in legend_texts(axes[0])


def test_smoothing_keeps_the_mean_and_takes_a_time():
    axes = plotting.plot_population_activity(activity(n_bins=700), smooth=10 * pq.ms)
    smooth = axes[0].lines[0].get_ydata()
    assert smooth.std() < 0.1 * activity(n_bins=700).activity[:, 0].std()
    assert smooth.mean() == pytest.approx(activity(n_bins=700).activity[:, 0].mean(), rel=0.02)
    with pytest.raises(TypeError, match="smooth has no unit"):
        plotting.plot_population_activity(activity(), smooth=0.01)


def test_a_truth_of_other_populations_is_refused():
    with pytest.raises(ValueError, match="truth has the populations"):
        plotting.plot_population_activity(activity(), truth=activity(names=("E1", "E2")))
    with pytest.raises(ValueError, match="axes has 3 entries"):
        plotting.plot_population_activity(activity(), axes=plt.subplots(3)[1])


# --- distances, trace, couplings -------------------------------------------------------------------------------------


def clusterer():
    labels = np.array([1, 0, 1, -1, 0])
    distances = np.where(labels[:, None] == labels, 0.2, 0.9) * (1 - np.eye(5))
    return SimpleNamespace(labels_=labels, distances_=distances, normalize="centered")


def test_distances_are_sorted_into_blocks_and_the_diagonal_is_blank():
    fitted = clusterer()
    before = fitted.distances_.copy()
    axes = plotting.plot_distance_matrix(fitted, names=["E", "I"])
    shown = np.ma.filled(axes.images[0].get_array(), np.nan)
    order = [1, 4, 0, 2, 3]
    expected = before[np.ix_(order, order)]
    np.fill_diagonal(expected, np.nan)
    assert_allclose(shown, expected)
    assert [text for text, _ in tick_texts(axes)] == ["E", "I", "unassigned"]
    assert_array_equal(fitted.distances_, before)
    assert axes.figure.axes[1].get_ylabel() == "distance (1 - correlation)"


def test_a_fitted_clusterer_is_drawn():
    counts = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (50, 1))
    axes = plotting.plot_distance_matrix(PopulationClusterer(2, random_state=0).fit(counts))
    assert [text for text, _ in tick_texts(axes)] == ["0", "1"]


def result(trace, converged=True):
    return FitResult(None, (), (), (), -1.0, 0.1, len(trace), converged, "ok", trace)


def test_the_trace_shows_the_log_likelihood_over_iterations():
    trace = tuple({"iteration": i, "objective": 2.0 * i, "log_likelihood": -10.0 + i} for i in range(4))
    axes = plotting.plot_trace(result(trace, converged=False))
    assert_array_equal(axes.lines[0].get_xdata(), [1, 2, 3, 4])
    assert_array_equal(axes.lines[0].get_ydata(), [-10, -9, -8, -7])
    assert axes.get_ylabel() == "log likelihood (nats)"
    assert axes.get_title(loc="right") == "not converged"
    assert_array_equal(plotting.plot_trace(result(trace), "objective").lines[0].get_ydata(), [0, 2, 4, 6])


def test_a_quantity_that_was_not_traced_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="holds no quantity 'loss'; it holds objective"):
        plotting.plot_trace(result(({"iteration": 1, "objective": 1.0},)), "loss")
    with pytest.raises(ValueError, match="it holds nothing"):
        plotting.plot_trace(result(()))


def circuit():
    J = np.array([[10.0, -20.0], [0.0, -19.968]]) * pq.mV
    return SimpleNamespace(J=J, mask=np.array([[True, True], [False, True]]), names=("E", "I"))


def test_couplings_are_drawn_target_by_source_in_millivolts():
    axes = plotting.plot_connectivity(circuit())
    assert_array_equal(np.ma.filled(axes.images[0].get_array(), 0), [[10, -20], [0, -19.968]])
    assert [text.get_text() for text in axes.texts] == ["10", "-20", "-19.97"]
    assert axes.images[0].get_clim() == (-20, 20)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("from (source)", "to (target)")


def test_couplings_that_cannot_be_are_hatched_and_not_zero():
    (cell,) = plotting.plot_connectivity(circuit()).patches
    assert cell.get_xy() == (-0.5, 0.5)  # source E, target I
    assert cell.get_hatch()


def test_colours_are_the_same_for_any_number_of_populations():
    assert plotting.population_colors(3)[:2] == [BLUE, VERMILLION]
    assert len(set(plotting.population_colors(7))) == 7
    assert len(plotting.population_colors(10)) == 10
