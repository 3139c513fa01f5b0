"""Circuit: what is given, checked once, never changed, and the same after any way through text."""

import copy
import json
import pickle

import numpy as np
import pytest
import quantities as pq

from neulvm_neo.circuit import Circuit


def full_circuit():
    """Every argument in use, with numbers that have no short decimal form."""
    return Circuit(
        [400, 100, 50],
        names=["E", "I", "Z"],
        J=np.array([[10 / 3, -20 / 7, 0.0], [0.1 + 0.2, -1e-3, 0.0], [10 / 3, -20 / 7, 1.5]]) * pq.mV,
        tau_m=np.array([20.0, 10 / 3, 7.1]) * pq.ms,
        u_rest=[14.4, -3, 2 / 3] * pq.mV,
        threshold=3.7 * pq.mV,
        t_ref=[4, 2, 0] * pq.ms,
        tau_syn=[3, 6, 6] * pq.ms,
        delay=0.0015 * pq.s,
        free=("tau_syn", "J", "tau_m"),
        mask=[[True, True, False], [True, True, False], [True, True, True]],
        ties={"J": [["a", "b", None], ["", "", ""], ["a", "b", "c"]], "tau_syn": [None, "s", "s"]},
        signs=[1, -1, 0],
        bounds={"tau_m": (1 * pq.ms, [50, 60, 70] * pq.ms)},
        prior={"tau_m": (20 * pq.ms, [5, np.inf, 1 / 3] * pq.ms)},
        spread={"tau_m": 1 / 3, "threshold": 0.0011 * pq.V, "u_rest": np.inf * pq.mV},
        resistance=100 * pq.MOhm,
    )


def assert_same(a, b):
    """Bit for bit, via the public text form and the arrays themselves."""
    assert a.to_dict() == b.to_dict()
    for name in ("J", "tau_m", "u_rest", "threshold", "t_ref", "tau_syn", "delay"):
        assert getattr(a, name).magnitude.tobytes() == getattr(b, name).magnitude.tobytes()


def test_scalars_reach_every_population_in_canonical_units():
    circuit = Circuit([400, 100], tau_m=0.02 * pq.s, threshold=0.0037 * pq.V, resistance=1e5 * pq.kOhm)
    assert circuit.tau_m.dimensionality.string == "ms"
    np.testing.assert_allclose(circuit.tau_m.magnitude, [20, 20], rtol=1e-15)
    np.testing.assert_allclose(circuit.threshold.magnitude, [3.7, 3.7], rtol=1e-15)
    np.testing.assert_allclose(circuit.resistance.magnitude, [100, 100], rtol=1e-12)
    assert circuit.J.shape == (2, 2) and not circuit.J.magnitude.any()
    assert circuit.names == ("P1", "P2") and circuit.n_populations == 2
    assert circuit.n_neurons.dtype == np.int64


def test_a_single_size_serves_as_many_populations_as_the_couplings_or_names_say():
    assert Circuit(100, J=np.zeros((3, 3)) * pq.mV).n_neurons.tolist() == [100, 100, 100]
    assert Circuit(100, names=["E", "I"]).n_neurons.tolist() == [100, 100]
    assert Circuit(100, J=60.32 * pq.mV).J.shape == (1, 1)


def test_nothing_of_the_user_is_shared_or_changed():
    J, sizes = np.ones((2, 2)) * pq.mV, np.array([10, 20])
    circuit = Circuit(sizes, J=J)
    J[0, 0], sizes[0] = 5 * pq.mV, 99
    assert circuit.J.magnitude[0, 0] == 1.0 and circuit.n_neurons[0] == 10
    for array in (circuit.J, circuit.tau_m, circuit.n_neurons, circuit.mask, circuit.bounds["J"][0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0] * 2
    with pytest.raises(AttributeError):
        circuit.J = J


def test_replace_returns_a_new_circuit_and_keeps_the_rest():
    circuit = full_circuit()
    other = circuit.replace(u_rest=1 * pq.mV)
    assert circuit.u_rest.magnitude[0] == 14.4 and other.u_rest.magnitude.tolist() == [1, 1, 1]
    assert_same(other.replace(u_rest=circuit.u_rest), circuit)
    with pytest.raises(TypeError, match="no argument 'tau'.*tau_m"):
        circuit.replace(tau=1 * pq.ms)


@pytest.mark.parametrize("circuit", [full_circuit(), Circuit(7), Circuit.default(2)], ids=["full", "one", "default"])
def test_every_way_through_text_keeps_every_bit(circuit, tmp_path):
    assert_same(Circuit.from_dict(circuit.to_dict()), circuit)
    assert_same(Circuit.from_dict(json.loads(json.dumps(circuit.to_dict(), allow_nan=False))), circuit)
    assert_same(Circuit.from_toml(circuit.to_toml()), circuit)
    circuit.to_toml(tmp_path / "c.toml")
    assert_same(Circuit.from_toml(tmp_path / "c.toml"), circuit)
    assert_same(Circuit.from_toml(str(tmp_path / "c.toml")), circuit)
    assert_same(pickle.loads(pickle.dumps(circuit)), circuit)
    assert_same(copy.deepcopy(circuit), circuit)


def test_a_circuit_file_written_by_hand_may_leave_out_what_is_ordinary():
    text = """
    n_neurons = [400, 100]
    J = [["10 mV", "-0.02 V"], ["10 mV", "-20 mV"]]
    tau_m = "20 ms"
    delay = ["0.001 s", "2 ms"]
    [ties]
    J = [["e", "i"], ["e", "i"]]
    [prior]
    tau_m = ["20 ms", ["5 ms", "10 ms"]]
    [spread]
    tau_m = 0.2
    u_rest = "0.003 V"
    """
    circuit = Circuit.from_toml(text)
    np.testing.assert_allclose(circuit.J.magnitude, [[10, -20], [10, -20]])
    np.testing.assert_allclose(circuit.delay.magnitude, [1, 2])
    assert circuit.prior["tau_m"][1].magnitude.tolist() == [5, 10]
    assert circuit.spread["tau_m"] == 0.2 and float(circuit.spread["u_rest"]) == 3.0 and len(circuit.spread) == 2


def test_populations_resemble_each_other_unless_that_is_switched_off():
    spread = Circuit([100, 100]).spread
    assert {name: float(x) for name, x in spread.items()} == {"tau_m": 0.3, "u_rest": 1.0, "threshold": 1.0}
    off = Circuit([100, 100], spread={})
    assert off.spread == {} and Circuit.from_toml(off.to_toml()).spread == {}
    assert off.replace(spread=None).spread.keys() == spread.keys()
    assert Circuit([1], spread={"tau_m": np.inf}).spread == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tau_m = '20 ms'", "n_neurons is missing"),
        ("n_neurons = 5\ntau = '20 ms'", "unknown entry 'tau'"),
        ("n_neurons = 5\ntau_m = 20", "tau_m is 20; expected a number and a unit"),
        ("n_neurons = 5\ntau_m = 'twenty ms'", "tau_m.*not a number and a unit"),
        ("n_neurons = [5, 5]\ntau_m = ['20 ms', '20 mV']", "tau_m mixes units"),
        ("n_neurons = [5, 5]\nJ = [['1 mV'], ['1 mV', '1 mV']]", "J has rows of different lengths"),
        ("n_neurons = ", "circuit: .*expected TOML"),
        ("n_neurons = 5\n[bounds]\ntau = ['1 ms', '2 ms']", "bounds names 'tau'"),
    ],
)
def test_a_bad_circuit_file_is_refused_in_words(text, message):
    with pytest.raises(ValueError, match=message):
        Circuit.from_toml(text)


def mV(x):
    return np.asarray(x, dtype=float) * pq.mV


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(n_neurons=[10, 0]), "n_neurons.*at least 1"),
        (dict(n_neurons=[10.5, 3]), "n_neurons.*whole number"),
        (dict(n_neurons=[]), "n_neurons.*at least 1"),
        (dict(n_neurons="many"), "n_neurons.*whole number"),
        (dict(names=["E", "E"]), "names.*2 different names"),
        (dict(names=["E"]), "names.*2 different names"),
        (dict(J=mV(np.zeros((2, 3)))), r"J has the shape \(2, 3\); expected one value or the shape \(2, 2\)"),
        (dict(J=mV([1, 2])), "J has the shape"),
        (dict(J=mV(np.nan)), "J is nan; expected finite"),
        (dict(tau_m=[20, 20, 20] * pq.ms), "tau_m has the shape"),
        (dict(tau_m=20 * pq.mV), "tau_m has the unit 'mV'; expected a time"),
        (dict(tau_m=[20, 0] * pq.ms, free=()), r"tau_m\['P2'\] is 0 ms; expected a positive value"),
        (dict(tau_syn=-1 * pq.ms), "tau_syn.*positive"),
        (dict(t_ref=-1 * pq.ms), "t_ref.*0 or more"),
        (dict(delay=-1 * pq.ms), "delay.*0 or more"),
        (dict(resistance=0 * pq.MOhm), "resistance.*positive"),
        (dict(free=("J", "delay")), "free names 'delay'"),
        (dict(mask=[[1, 0]]), "mask.*shape"),
        (dict(mask=[[1, 2], [0, 1]]), "mask.*True or False"),
        (dict(mask=[[1, 0], [1, 1]], J=mV(1)), r"J\['P1', 'P2'\] is 1 mV; expected 0 mV where mask is False"),
        (dict(signs=[1, 2]), "signs.*-1 or 0"),
        (dict(signs=[1]), "signs"),
        (dict(signs=[1, -1], J=mV(1)), r"J\['P1', 'P2'\] is 1 mV; expected the sign"),
        (dict(ties={"t_ref": [0, 0]}), "ties names 't_ref'"),
        (dict(ties={"J": [0, 0]}), r"ties\['J'\] has the shape"),
        (dict(ties=[0, 0]), "TypeError: ties is a list; expected a dict"),
        (dict(ties={"tau_m": ["a", "a"]}, tau_m=[20, 21] * pq.ms), r"tau_m is \[20.0, 21.0\] where ties"),
        (dict(ties={"J": [["a", "a"], ["", ""]]}, signs=[1, -1]), "'a' between sources of different signs"),
        (dict(ties={"tau_m": ["a", "a"]}, bounds={"tau_m": (2 * pq.ms, [50, 60] * pq.ms)}), r"bounds\['tau_m'\] is"),
        (dict(ties={"tau_m": ["a", "a"]}, prior={"tau_m": ([19, 20] * pq.ms, 5 * pq.ms)}), r"prior\['tau_m'\] is"),
        (dict(bounds={"tau": (1 * pq.ms, 2 * pq.ms)}), "bounds names 'tau'"),
        (dict(bounds={"tau_m": 5 * pq.ms}), r"bounds\['tau_m'\].*two Quantities \(low, high\)"),
        (dict(bounds={"tau_m": (5 * pq.ms, 5 * pq.mV)}), r"bounds\['tau_m'\] high has the unit"),
        (dict(bounds={"tau_m": (30 * pq.ms, 5 * pq.ms)}), "low end below the high end"),
        (dict(bounds={"tau_m": (0 * pq.ms, 50 * pq.ms)}), "positive low end"),
        (dict(bounds={"tau_m": (2 * pq.ms, 15 * pq.ms)}), r"tau_m\['P1'\] is 20 ms; expected a value within bounds"),
        (dict(bounds={"J": (mV(0), mV(50))}, signs=[0, -1]), r"J\['P1', 'P2'\].*room for the sign"),
        (dict(J=mV(501)), "J.*within bounds"),
        (dict(prior={"delay": (1 * pq.ms, 1 * pq.ms)}), "prior names 'delay'"),
        (dict(spread={"t_ref": 1 * pq.ms}), "spread names 't_ref'"),
        (dict(spread={"tau_m": 5 * pq.ms}), r"TypeError: spread\['tau_m'\] is .*number"),
        (dict(spread={"u_rest": 2.5}), r"TypeError: spread\['u_rest'\] has no unit"),
        (dict(spread={"u_rest": mV([1, 2])}), r"spread\['u_rest'\] has the shape"),
        (dict(spread={"threshold": mV(0)}), r"spread\['threshold'\] is 0.0 mV; expected a positive s.d."),
        (dict(spread={"tau_m": np.nan}), r"spread\['tau_m'\] is nan"),
        (dict(spread=2.5), "TypeError: spread is a float; expected a dict"),
        (dict(prior={"tau_m": (20 * pq.ms, 0 * pq.ms)}), r"prior\['tau_m'\]\[0\] is 0 ms; expected a positive sd"),
    ],
)
def test_a_contradiction_is_refused_and_says_where(arguments, message):
    expected, _, words = message.rpartition("Error: ")
    with pytest.raises(TypeError if expected == "Type" else ValueError, match=words):
        Circuit(**{"n_neurons": [100, 100], **arguments})


def test_a_bare_number_is_refused():
    with pytest.raises(TypeError, match="tau_m has no unit"):
        Circuit([100], tau_m=0.02)


def test_given_values_need_not_keep_bounds_and_masked_couplings_have_none():
    Circuit([100], tau_m=1000 * pq.ms, free=("J",))
    Circuit([1, 1], J=mV([[10, 0], [0, 10]]), mask=np.eye(2), bounds={"J": (mV(5), mV(20))})


def test_a_value_that_rounding_pushed_over_its_bound_is_kept():
    value = float(np.nextafter(100.0, 101.0))
    assert Circuit([100], tau_m=value * pq.ms).tau_m.magnitude[0] == value


def test_free_names_have_one_order_and_no_duplicates():
    assert Circuit([1], free=("threshold", "J", "J")).free == ("J", "threshold")
    assert Circuit([1], free="J").free == ("J",)
    assert Circuit([1], free=()).free == ()


def test_the_default_circuit_is_uncoupled_with_known_sizes():
    circuit = Circuit.default(3, n_neurons=500, names=["a", "b", "c"], t_ref=1 * pq.ms)
    assert circuit.n_neurons.tolist() == [500] * 3 and circuit.t_ref.magnitude.tolist() == [1, 1, 1]
    assert not circuit.J.magnitude.any() and not circuit.signs.any() and circuit.mask.all()
    assert Circuit.default(2, n_neurons=[5, 6]).n_neurons.tolist() == [5, 6]
    with pytest.raises(ValueError, match="n_populations is 0"):
        Circuit.default(0)
    with pytest.raises(ValueError, match="one size for each of the 3"):
        Circuit.default(3, n_neurons=[5, 6])


def test_the_picture_in_words_shows_values_signs_and_missing_couplings():
    text = repr(full_circuit())
    assert "550 neurons" in text and "tau_syn (ms)" in text and "free: J, tau_m, tau_syn" in text
    row = next(line for line in text.splitlines() if line.split()[:1] == ["I"])
    assert row.split() == ["I", "100", "3.33333", "-3", "3.7", "2", "6", "1.5", "-"]
    assert "." in text.splitlines()[-4].split()  # E receives nothing from Z
