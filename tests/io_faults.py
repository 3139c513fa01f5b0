"""Annotation under fault, as a process of its own: ``python -m tests.io_faults kill FOLDER SEED N`` and others.

What takes long, loading PyNWB, is done once; then a fork annotates, and is killed, runs out of space or of permission.
Prints one JSON object per case.
"""

import json
import os
import random
import resource
import signal
import sys
import time

from neulvm_neo.io import annotate_nwb, read_fit

from neulvm_neo.new_files import new_file

from .io_samples import make_fit, make_nwb, sha256

OLD, NEW = "old", "new"  # statuses of the fits, by which a target is known to be old or complete


def fit(status):
    return make_fit([0, 1], n_bins=900, status=status)


def source(folder, n_units=40, n_spikes=5000):
    """A file of 2 MB, so that copying it takes a moment."""
    times = [[10.0 * (i + 1) / (n_spikes + 1) for i in range(n_spikes)]] * n_units
    return str(make_nwb(os.path.join(folder, "rec.nwb"), times, [[[0.0, 10.0]]] * n_units))


def forked(work):
    """A child that does some work and ends with 0, or 1 and the error on its standard error."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            work()
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            code = 1
        os._exit(code)
    return child


def left_behind(folder, *known):
    return sorted(set(os.listdir(folder)) - {os.path.basename(path) for path in known})


def version(path):
    return read_fit(path).status if os.path.exists(path) else "absent"


def kill(folder, seed, n):
    """Kill the annotation at n instants: anywhere (every third), or once its temporary file is there."""
    rng = random.Random(int(seed))
    path, out = source(folder), os.path.join(folder, "out.nwb")
    annotate_nwb(path, out, fit(OLD))
    began = time.perf_counter()
    annotate_nwb(path, out, fit(OLD), overwrite=True)
    duration = time.perf_counter() - began
    plain, old = open(path, "rb").read(), open(out, "rb").read()
    for i in range(int(n)):
        start = ("absent", OLD, "in place")[i % 3]
        target = path if start == "in place" else out
        _write(path, plain if start != "in place" else old)
        _write(out, old) if start == OLD else _remove(out)
        before = sha256(path)
        child = forked(lambda target=target: annotate_nwb(path, target, fit(NEW), overwrite=True))
        anywhere = i % 3 == (i // 3) % 3
        if not anywhere:
            while not left_behind(folder, path, out) and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.0005)
        time.sleep(rng.uniform(0, 1.4 * duration if anywhere else 0.1 * duration if i % 2 else duration))
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it had ended
        rubbish = left_behind(folder, path, out)
        same = sha256(path) == before
        found = version(target)
        try:
            with new_file(target, suffixes=(".nwb",), overwrite=True):
                raise KeyboardInterrupt  # what every new start does first
        except KeyboardInterrupt:
            pass
        say(start=start, found=found, same=same, rubbish=len(rubbish), left=left_behind(folder, path, out))
    annotate_nwb(path, out, fit(NEW), overwrite=True)
    say(start="restart", found=version(out), same=True, rubbish=0, left=left_behind(folder, path, out))


def full(folder, *limits):
    """Annotate where files cannot grow beyond a limit (bytes), onto nothing and onto an old annotation."""
    path, out = source(folder), os.path.join(folder, "out.nwb")
    annotate_nwb(path, out, fit(OLD))
    before, old = sha256(path), sha256(out)
    for i, limit in enumerate([*map(int, limits), os.path.getsize(out) - 1, os.path.getsize(out) - 20_000]):
        if i % 2:
            _remove(out)
        elif not os.path.exists(out):
            annotate_nwb(path, out, fit(OLD))
            old = sha256(out)

        def work(limit=limit):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            annotate_nwb(path, out, fit(NEW), overwrite=True)

        error, code = _error_of(work)
        found = "absent" if i % 2 and not os.path.exists(out) else OLD if sha256(out) == old else "changed"
        say(limit=limit, code=code, error=error, found=found, same=sha256(path) == before,
            left=left_behind(folder, path, out))  # fmt: skip


def forbidden(folder):
    """Annotate as somebody who may not write to the folder, and of a file that nobody may read."""
    path, out = source(folder, 2, 10), os.path.join(folder, "out.nwb")
    before = sha256(path)

    def without_rights(target):
        if os.geteuid() == 0:
            os.setuid(65534)  # root may do everything, nobody may not
        annotate_nwb(path, target, fit(NEW), overwrite=True)

    os.chmod(folder, 0o555)
    error, code = _error_of(lambda: without_rights(out))
    say(case="folder", code=code, error=error, same=sha256(path) == before, left=left_behind(folder, path))
    os.chmod(path, 0o000)
    error, code = _error_of(lambda: without_rights("/tmp/never.nwb"))
    os.chmod(path, 0o644)
    os.chmod(folder, 0o755)
    say(case="file", code=code, error=error, same=sha256(path) == before, left=left_behind(folder, path))


def _error_of(work):
    read, write = os.pipe()

    def told():
        os.dup2(write, 2)
        work()

    child = forked(told)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        error = pipe.read()
    _, status = os.waitpid(child, 0)
    return error, os.waitstatus_to_exitcode(status)


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def _remove(path):
    if os.path.exists(path):
        os.remove(path)


def say(**what):
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    {"kill": kill, "full": full, "forbidden": forbidden}[sys.argv[1]](*sys.argv[2:])
