"""The paper's networks, ready made, with the values that reproduce its figures."""

import quantities as pq

from ..circuit import Circuit


def winner_take_all():
    """Two excitatory populations that compete through an inhibitory one and take turns (Wang et al. 2022, section 5.2).

    Twelve free values: one coupling per source population and each population's tau_m, u_rest and threshold. The paper
    prints τ_mem as 50 (it is 1/τ in 1/s, so 20 ms) and one τ_syn for all; its figures need 3 ms for excitatory and 6 ms
    for inhibitory sources. The values are those of Schwalger et al. 2017 divided by Δ_u = 2.5 mV.

    Returns
    -------
    Circuit

    Examples
    --------
    >>> winner_take_all().names
    ('E1', 'E2', 'I')
    """
    return Circuit(
        [400, 400, 200],
        names=["E1", "E2", "I"],
        J=[[9.984, 0.0, -19.968], [0.0, 9.984, -19.968], [9.984, 9.984, -19.968]] * pq.mV,
        tau_m=20 * pq.ms,
        u_rest=14.4 * pq.mV,
        threshold=3.7 * pq.mV,
        t_ref=4 * pq.ms,
        tau_syn=[3, 3, 6] * pq.ms,
        delay=0 * pq.ms,
        free=("J", "tau_m", "u_rest", "threshold"),
        mask=[[True, False, True], [False, True, True], [True, True, True]],
        ties={"J": [["J_e1", "J_e2", "J_i"]] * 3},
        signs=[1, 1, -1],
    )


def single_population(J=None):
    """One excitatory population whose coupling decides between silence, clusters and synchrony.

    Wang et al. 2022, section 5.1. The refractory period is one bin of 1 ms, without which their Figure 2B does not
    appear; their network is an Euler scheme with steps of 1 ms. J is free, the rest given.

    Parameters
    ----------
    J : Quantity, mV, optional
        Default 60.32 mV.

    Returns
    -------
    Circuit

    Examples
    --------
    >>> single_population().free
    ('J',)
    """
    return Circuit(
        [600],
        names=["E"],
        J=60.32 * pq.mV if J is None else J,
        tau_m=100 * pq.ms,
        u_rest=26 * pq.mV,
        threshold=49.7 * pq.mV,
        t_ref=1 * pq.ms,
        tau_syn=4 * pq.ms,
        delay=10 * pq.ms,
        free=("J",),
        signs=[1],
    )
