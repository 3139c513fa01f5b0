"""Other processes on one core and one thread: a problem in, a result out, both JSON; and the machine they run on."""

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

LIMIT = 1800.0  # s for one process; Brian2's first compilation alone takes minutes on a slow machine
ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", "JAX_PLATFORMS": "cpu",
}  # fmt: skip


class Outcome(NamedTuple):
    """What a process left behind."""

    result: dict | None  # its last line, as JSON
    trouble: str | None  # the last line of its complaint, if it ended badly
    missing: bool  # whether the trouble is a module that it could not import
    seconds: float
    peak_memory: int | None  # bytes


def start(command, problem=None, limit=LIMIT):
    """Run a process to its end: the problem on stdin, the result on stdout, both JSON.

    Parameters
    ----------
    command : list of str
    problem : dict, optional
        Without it no result is expected.
    limit : float, s
        Then the process is killed.

    Returns
    -------
    Outcome
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as complaint:
        given.write(json.dumps(problem).encode())
        given.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=complaint, env=os.environ | ONE_THREAD)
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            peak_memory = _wait(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - began
        out.seek(0)
        complaint.seek(0)
        answer = out.read().decode(errors="replace").strip().splitlines()
        said = complaint.read().decode(errors="replace").strip().splitlines()
    trouble, result = None, None
    if process.returncode != 0:
        trouble = said[-1] if said else f"ended with code {process.returncode} and without a word"
        if seconds >= limit:
            trouble = f"not done after {limit:g} s"
    elif problem is not None:
        try:
            result = json.loads(answer[-1]) if answer else None
        except ValueError:
            pass
        if not isinstance(result, dict):
            result, trouble = None, "did not answer in JSON"
    missing = trouble is not None and trouble.startswith(("ModuleNotFoundError", "ImportError"))
    if result is not None and "skipped" in result:
        result, trouble, missing = None, result["skipped"], True
    return Outcome(result, trouble, missing, seconds, peak_memory)


def _wait(process):
    """Wait for a process; its peak memory in bytes, None where the system does not tell.

    Linux counts what this process had when it started the other: one reason to import nothing heavy here.
    """
    if not hasattr(os, "wait4"):
        process.wait()
        return None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def one_core():
    """Keep this process and those it starts on one core; yields its number, or None where that cannot be done."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    usable = os.sched_getaffinity(0)
    core = max(usable)  # the first one serves interrupts
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, usable)


def machine():
    """What the times were taken on: processor, system, versions."""
    versions = {"python": platform.python_version()}
    for package in ("neulvm-neo", "numpy", "numba", "llvmlite"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    model, extensions = platform.processor() or platform.machine(), []
    with contextlib.suppress(OSError):
        facts = dict(
            (part.strip() for part in line.split(":", 1))
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if ":" in line
        )
        model = facts.get("model name", model)
        extensions = [flag for flag in ("avx2", "fma", "avx512f") if flag in facts.get("flags", "").split()]
    system = f"{platform.system()} {platform.machine()}"
    return {
        "cpu": model, "vector_extensions": extensions, "cores": os.cpu_count(), "system": system, "versions": versions
    }  # fmt: skip


def load():
    """Processes that wanted to run in the last minute, on average; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
