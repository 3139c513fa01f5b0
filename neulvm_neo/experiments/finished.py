"""Tasks of an experiment that are done, kept in a folder, so that a run that was interrupted can be gone on with."""

import json
import os
import shutil

import joblib

from ..inference.tasks import run_one_by_one

_ABOUT = "run.json"  # what the tasks are parts of


class Finished:
    """Runs tasks and keeps what each gave back, under a name made of its function and arguments.

    Parameters
    ----------
    folder : path-like
        Made with the first task that ends; its files are pickles: only go on with runs of your own.
    about : dict
        What makes runs the same (experiment, seed, sizes, versions); as it is in JSON.
    resume : bool
        Whether tasks that are in the folder count. If not, the folder is emptied.
    check : callable
        Called before a result is kept; raises KeyboardInterrupt if the run was interrupted meanwhile, since then the
        result may be that of half a fit.

    Raises
    ------
    FileNotFoundError
        If there is nothing to go on with.
    ValueError
        If what is there is of another run.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = os.path.join(place, "tasks")
    ...     first = list(Finished(folder, {"seed": 1}).run_tasks([joblib.delayed(pow)(2, 3)], n_jobs=1))
    ...     again = Finished(folder, {"seed": 1}, resume=True)
    ...     first, list(again.run_tasks([joblib.delayed(pow)(2, 3), joblib.delayed(pow)(2, 4)], n_jobs=1)), again.n_kept
    ([8], [8, 16], 1)
    """

    def __init__(self, folder, about, resume=False, check=lambda: None):
        self.folder, self.about, self.check, self.n_kept = os.fspath(folder), about, check, 0
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        path = os.path.join(self.folder, _ABOUT)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{self.folder}: holds no finished tasks to go on with; start the run anew.")
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        for key, now in about.items():
            if before.get(key) != now:
                raise ValueError(
                    f"{self.folder}: its tasks are of a run with {key} {before.get(key)!r}, this one has {now!r}; "
                    "go on with the same, or start anew in another folder."
                )

    def run_tasks(self, tasks, n_jobs=None):
        """`tasks.run_one_by_one`, but tasks that are done already are read.

        Yields
        ------
        object
            In the order of the tasks.
        """
        tasks = list(tasks)
        paths = [self._path(task) for task in tasks]
        done = [os.path.exists(path) for path in paths]
        results = run_one_by_one((task for task, there in zip(tasks, done, strict=True) if not there), n_jobs)
        for path, there in zip(paths, done, strict=True):
            if there:
                self.n_kept += 1
                yield joblib.load(path)
            else:
                result = next(results)
                self.check()
                self._keep(result, path)
                yield result

    def remove(self):
        """Forget the tasks: the run is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, task):
        function, args, kwargs = task
        name = joblib.hash((function.__module__, function.__qualname__, args, kwargs))
        return os.path.join(self.folder, f"{name}.pkl")

    def _keep(self, result, path):
        if not os.path.exists(self.folder):
            os.makedirs(self.folder)
            with open(os.path.join(self.folder, _ABOUT), "w", encoding="utf-8") as file:
                json.dump(self.about, file)
        joblib.dump(result, f"{path}.new")
        os.replace(f"{path}.new", path)  # complete or not there
