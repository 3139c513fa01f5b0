"""quality.py: what is counted about a recording is what was put into it."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import SpikeRecording
from neulvm_neo.quality import data_quality, surplus_share


def recording(*trains, t_start=0.0, t_stop=100.0):
    ids = tuple(f"u{i}" for i in range(len(trains)))
    times = tuple(np.sort(np.asarray(train, dtype=float)) for train in trains)
    return SpikeRecording((times,), np.array([t_start]), np.array([t_stop]), ids)


def poisson(rng, rate, duration=100.0):
    return rng.uniform(0, duration, rng.poisson(rate * duration))


def test_spikes_rates_and_intervals_are_counted():
    quality = data_quality(recording([-1.0, 1.0, 1.0015, 1.0015, 5.0], [], [3.0], t_start=-10.0, t_stop=90.0))
    assert quality.n_spikes.tolist() == [5, 0, 1]
    assert quality.rates.tolist() == [0.05, 0.0, 0.01]
    assert quality.n_short.tolist() == [2, 0, 0]
    assert quality.n_duplicates.tolist() == [1, 0, 0]
    assert quality.n_negative.tolist() == [1, 0, 0]
    assert quality.shortest_interval[0] == 0 and np.isnan(quality.shortest_interval[1:]).all()
    assert (quality.silent, quality.nearly_silent, quality.multi_units) == (("u1",), ("u2",), ("u0",))
    assert quality.share_short[0] == 0.5


def test_the_refractory_period_may_be_another():
    assert data_quality(recording([1.0, 1.003]), refractory_period=0.004).n_short.tolist() == [1]


@pytest.mark.parametrize("step", [None, 1e-3, 1e-4, 1 / 30_000], ids=["continuous", "1 ms", "0.1 ms", "30 kHz"])
def test_spikes_seen_twice_are_found_and_nothing_else(step):
    rng = np.random.default_rng(3)
    bursts = poisson(rng, 2.0)
    common = [np.concatenate([poisson(rng, 5.0), bursts + rng.normal(0, 0.01, bursts.size)]) for _ in range(6)]
    late = common[0][::3] + 0.003 + rng.uniform(0, 0.002, common[0][::3].size)  # a synapse's spikes, not copies
    leaked = rng.permutation(common[2])[:60] + rng.uniform(-5e-5, 5e-5, 60)
    trains = [*common[:4], np.concatenate([common[4], late]), np.concatenate([common[5], leaked])]
    trains = [train if step is None else np.round(train / step) * step for train in trains]
    (pair,) = data_quality(recording(*[np.clip(train, 0, 100) for train in trains])).shared
    assert pair[:2] == ("u2", "u5")
    assert pair[2] == pytest.approx(60, abs=20)
    assert pair[3] == pytest.approx(60 / common[2].size, abs=0.04)


def test_independent_units_share_nothing_on_any_grid():
    found = 0
    for seed in range(5):
        for step in (1e-3, 2e-4, 5e-5):
            rng = np.random.default_rng(seed)
            trains = [np.round(poisson(rng, 20.0) / step) * step for _ in range(8)]
            found += len(data_quality(recording(*trains)).shared)
    assert found == 0


def test_the_share_of_surplus_spikes_is_that_of_the_binner():
    from neulvm_neo.binning import bin_recording

    rng = np.random.default_rng(0)
    spikes = recording(*[poisson(rng, 30.0, 20.0) for _ in range(4)], t_stop=20.0)
    for width in (0.002, 0.01):
        (counts,) = bin_recording(spikes, width, multiple="merge")
        assert surplus_share(spikes, width) == pytest.approx(np.maximum(counts - 1, 0).sum() / counts.sum())


def test_an_empty_recording_has_an_empty_sheet():
    quality = data_quality(recording([], []))
    assert quality.silent == ("u0", "u1") and quality.shared == ()
    assert surplus_share(recording([]), 0.002) == 0


def test_a_real_culture_is_told_as_multi_unit(shared_data):
    from neulvm_neo.io import read_nwb

    spikes = SpikeRecording.from_neo(read_nwb(shared_data("culture_div17.nwb"), window=(0 * pq.s, 300 * pq.s)))
    assert len(data_quality(spikes).multi_units) > 10
