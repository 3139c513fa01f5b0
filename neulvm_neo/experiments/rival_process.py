"""A rival model in a process of its own, with its own library, in an environment that need not be ours.

What installs the libraries::

    python -m venv rivals && rivals/bin/pip install dynamax nemos          # PLDS, Poisson HMM, GLM
    python -m venv rivals-ssm                                              # SLDS: its git repository, older libraries
    rivals-ssm/bin/pip install "numpy==1.26.*" "cython>=3" scipy matplotlib scikit-learn tqdm seaborn numba autograd \
        setuptools wheel
    git clone https://github.com/lindermanlab/ssm && rivals-ssm/bin/pip install --no-build-isolation ./ssm

and then ``--peer-python dynamax=rivals/bin/python``, ``nemos=…`` and ``ssm=rivals-ssm/bin/python``. GPFA comes with
Elephant, which is installed with this package.
"""

import sys
from pathlib import Path

from . import processes


class NoAnswerError(Exception):
    """Why a rival has found nothing; `missing` where it is not installed."""

    def __init__(self, words, missing):
        super().__init__(words)
        self.missing = missing


def answer(problem, python=None):
    """What a script in `peers` makes of a problem.

    Parameters
    ----------
    problem : dict
        For JSON; see `peers/rival.py`.
    python : str, optional
        Interpreter that has the library; default this one.

    Returns
    -------
    dict

    Raises
    ------
    NoAnswerError
        If the library is not there, or the fit fails.
    """
    script = Path(__file__).parent / "peers" / "rival.py"
    outcome = processes.start([python or sys.executable, "-W", "ignore", str(script)], problem)
    if outcome.trouble:
        raise NoAnswerError(outcome.trouble, outcome.missing)
    return outcome.result
