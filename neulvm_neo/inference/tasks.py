"""Hand independent tasks to joblib: to threads, or to the processes and machines that the user has chosen.

A task holds everything that it needs, its random numbers too, and gives back all that it has found. So a fit is the
same wherever its tasks run, and a worker that dies costs its task only: whoever runs the tasks gives it to another one.
"""

import contextlib
import os
import platform
import threading

import joblib
from threadpoolctl import threadpool_limits

_lock = threading.Lock()
_limits = []  # of the BLAS threads of this process, one for every caller inside `one_blas_thread`


def run(tasks, n_jobs=None):
    """Results of tasks, in their order.

    Parameters
    ----------
    tasks : iterable of ``joblib.delayed(function)(…)``
    n_jobs : int, optional
        As of ``joblib.Parallel``, with threads, unless ``joblib.parallel_config`` says otherwise. 1 is here and now,
        whatever it says: such tasks are parts of larger ones.

    Returns
    -------
    list

    Examples
    --------
    >>> run([joblib.delayed(pow)(2, 3), joblib.delayed(pow)(3, 2)])
    [8, 9]
    """
    return list(run_one_by_one(tasks, n_jobs))


def run_one_by_one(tasks, n_jobs=None):
    """The results of `run` as they come, in the order of the tasks.

    Yields
    ------
    object
    """
    if n_jobs == 1:
        for function, args, kwargs in tasks:
            yield function(*args, **kwargs)
        return
    parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    yield from parallel(joblib.delayed(_Task(*task))() for task in tasks)


class Advance:
    """Moves a progress bar on from within tasks; in other processes it does nothing.

    Parameters
    ----------
    bar : tqdm.tqdm
    """

    def __init__(self, bar):
        self.bar = bar

    def __call__(self, n=1):
        self.bar.update(n)

    def up_to(self, n):
        """Make up for what was done elsewhere."""
        self.bar.update(max(n - self.bar.n, 0))

    def __reduce__(self):
        return _Elsewhere, ()


class _Elsewhere:
    def __call__(self, n=1):
        pass


@contextlib.contextmanager
def one_blas_thread():
    """One BLAS thread for this process, until the last of those who asked for it has finished.

    The optimiser's matrices are tiny: threads that wait for each other took three quarters of the time of a fit.
    """
    with _lock:
        _limits.append(None if _limits else threadpool_limits(1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            if len(_limits) == 1:
                _limits[0].restore_original_limits()
            _limits.pop()


class _Task:
    """One call, closed to the engines: some take tuples apart, or send large arguments ahead, lost with a worker."""

    def __init__(self, function, args, kwargs):
        self.call, self.home = (function, args, kwargs), _here()

    def __call__(self):
        function, args, kwargs = self.call
        with contextlib.nullcontext() if self.home == _here() else one_blas_thread():
            return function(*args, **kwargs)


def _here():
    return platform.node(), os.getpid()
