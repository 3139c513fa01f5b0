"""Counter-based randomness: bit for bit NumPy's, and uniform strictly between 0 and 1."""

import numpy as np
import pytest
from scipy import stats

from neulvm_neo.kernels.philox import open_uniform, philox

_TOP = 2**64 - 1


def words(key, counter):
    return [int(word) for word in philox(*np.array([*key, *counter], dtype=np.uint64))]


def numpys(key, counter):
    before = (sum(word << 64 * i for i, word in enumerate(counter)) - 1) % 2**256  # NumPy counts up, then draws
    bit_generator = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=before)
    return bit_generator.random_raw(4).tolist()


@pytest.mark.parametrize(
    ("key", "counter"),
    [
        ((0, 0), (0, 0, 0, 0)),
        ((1, 2), (3, 4, 5, 6)),
        ((_TOP, _TOP), (_TOP, _TOP, _TOP, _TOP)),
        ((2**32, 2**32 - 1), (0, 1, 0, 0)),
    ],
)
def test_words_are_those_of_numpy(key, counter):
    assert words(key, counter) == numpys(key, counter)


def test_words_are_those_of_numpy_for_random_keys_and_counters():
    for row in np.random.default_rng(1).integers(0, 2**64, (300, 6), dtype=np.uint64).tolist():
        assert words(row[:2], row[2:]) == numpys(row[:2], row[2:])


def test_words_are_the_published_ones():
    """Known answer of the authors' Random123 library for the first 64-bit digits of pi."""
    counter = (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89)
    expected = [0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6]
    assert words((0x452821E638D01377, 0xBE5466CF34E90C6C), counter) == expected


def test_numbers_lie_strictly_between_0_and_1():
    assert open_uniform(np.uint64(0)) == 2.0**-53
    assert open_uniform(np.uint64(_TOP)) == 1 - 2.0**-53


@pytest.mark.parametrize("axis", range(2))
def test_neighbouring_counters_give_independent_uniform_numbers(axis):
    key = np.array([11, 12], dtype=np.uint64)
    counters = np.zeros((20_000, 4), dtype=np.uint64)
    counters[:, axis] = np.arange(len(counters))
    u = np.array([open_uniform(np.uint64(philox(*key, *counter)[0])) for counter in counters])
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / np.sqrt(u.size)
