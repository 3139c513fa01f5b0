"""The connectivity experiment: its table, what it keeps, and what it says first."""

import json

import numpy as np
import pytest

from neulvm_neo.experiments import connectivity, connectivity_study
from neulvm_neo.experiments.registry import plain

from .test_recovery import seeds_of_commit


def fits(errors, couplings=(59.0, 62.0, 65.0), status="converged", half=0.2):
    return [
        {"J_true": J, "J": J + e, "lower": J + e - half, "upper": J + e + half, "r": 0.9, "band": 0.9, "status": status}
        for J, row in zip(couplings, errors, strict=True)
        for e in row
    ]


def result(smc, others=None, off_grid=None):
    """A result as `run` makes it, of made-up fits, read back from a file."""
    grid = {("methods", "smc"): smc} | {("methods", name): rows for name, rows in (others or {}).items()}
    if off_grid:
        grid["off_grid", "smc"] = off_grid
    sizes = connectivity_study.FULL._replace(methods={name: {} for name in ("smc", *(others or {}))})
    return json.loads(json.dumps(plain(connectivity_study._result(grid, sizes)), allow_nan=False))


def test_the_table_has_means_and_spreads_per_coupling():
    found = connectivity_study.table(fits([[0.1, -0.1], [0.0, 0.4], [-1.0, -1.0]]))
    assert found["J_true"] == [59.0, 62.0, 65.0]
    np.testing.assert_allclose(found["J_hat_mean"], [59.0, 62.2, 64.0])
    np.testing.assert_allclose(found["J_hat_std"], [0.1, 0.2, 0.0], atol=1e-12)
    true, single = np.array([(f["J_true"], f["J"]) for f in found["fits"]]).T
    assert found["pearson_r"] == pytest.approx(np.corrcoef(true, single)[0, 1])
    assert found["largest_error"] == pytest.approx(1.0)
    assert found["interval_coverage"] == {"inside": 3, "of": 6, "level": 0.9}


def test_a_single_data_set_has_no_correlation_and_methods_without_intervals_no_coverage():
    found = connectivity_study.table(fits([[0.1]], couplings=(60.0,), half=np.nan))
    assert np.isnan(found["pearson_r"]) and found["interval_coverage"]["of"] == 0


def test_what_is_below_the_paper_comes_first():
    poor = fits([[3.0, -9.0], [8.0, -8.0], [9.0, -9.0]])
    found = result(fits([[0.1], [0.1], [0.1]]), {"paper": poor})
    lines = connectivity_study.summary(found)
    assert lines[0].startswith("Below the paper") and "r =" in lines[0]
    assert not connectivity_study.summary(result(fits([[0.1], [0.1], [0.1]])))[0].startswith("Below")


def test_fits_that_did_not_end_well_and_narrow_intervals_are_named():
    found = result(fits([[0.1], [0.5], [0.5]], status="stopped"))
    assert len(found["failures"]) == 3 and "J = 59 mV: stopped" in found["failures"][0]
    lines = connectivity_study.summary(found)
    assert any("did not end well" in line for line in lines)
    assert any("only 1 of 3" in line for line in lines)


def test_the_published_table_stands_beside_ours():
    found = result(fits([[0.1], [0.1], [0.1]]), off_grid=fits([[0.3]], couplings=(60.5,)))
    assert found["published"]["J_hat_mean"][0] == 58.18 and found["published"]["pearson_r"] == 0.81
    assert found["off_grid"]["J_true"] == [60.5] and found["off_grid"]["pearson_r"] is None
    assert found["J_hat_mean"] == found["methods"]["smc"]["J_hat_mean"]
    left, right = connectivity_study.figure(found).axes
    labels = left.get_legend_handles_labels()[1]
    assert "paper, as published" in labels and any("did not try" in label for label in labels)
    assert "paper 0.81" in right.get_title()


def test_estimates_outside_the_panel_are_counted():
    found = result(fits([[-12.0], [0.1], [0.1]]))
    left, _ = connectivity_study.figure(found).axes
    assert left.get_title(loc="right") == "1 data sets outside"


def test_every_method_fits_the_same_data_sets():
    sizes = connectivity_study.Sizes((60.0, 64.0), 1, (), 0, {
        "viterbi": {"n_init": 1, "max_iter": 1, "n_particles": 5},
        "paper": {"n_init": 1, "max_iter": 1, "n_particles": 5},
    })  # fmt: skip
    kept = []
    found = connectivity_study.run(seed=2, quick=True, sizes=sizes, checkpoint=kept.append)
    assert len(kept) == 4 and found["off_grid"] is None
    assert {method: table["J_true"] for method, table in found["methods"].items()} == dict.fromkeys(
        ("viterbi", "paper"), [60.0, 64.0]
    )
    assert all(np.isfinite(table["J_hat_mean"]).all() for table in found["methods"].values())
    json.dumps(plain(found), allow_nan=False)


def test_the_calibration_gives_every_data_set_a_network_of_its_own():
    found = connectivity.calibration(1, n_networks=3, n_particles=5, max_iter=1)
    true = [fit["J_true"] for fit in found["fits"]]
    assert len(set(true)) == found["of"] == 3 and min(true) >= 59 and max(true) <= 65
    inside = [fit["lower"] <= fit["J_true"] <= fit["upper"] for fit in found["fits"]]
    assert found["inside"] == sum(inside)
    assert found["largest_error"] == max(abs(fit["J"] - fit["J_true"]) for fit in found["fits"])


@pytest.mark.slow
def test_intervals_of_the_coupling_hold_what_they_say():
    """50 networks that share nothing; 25 minutes on one core."""
    found = connectivity.calibration(seeds_of_commit(1)[0], n_jobs=2)
    print({key: value for key, value in found.items() if key != "fits"})
    assert 0.80 <= found["inside"] / found["of"] <= 0.98
    assert 0.85 <= found["band"] <= 0.95
