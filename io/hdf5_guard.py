"""Whether HDF5 gets through a file alive: on some damaged ones it crashes, or never returns, with Python in its hands.

Nothing inside a process can prevent that. So a process of its own walks through a file first, with a limit on its
computing time, and a file that it does not survive is never opened here.
"""

import functools
import os
import subprocess
import sys

# Computing time (s) that a walk may take, and how many bytes per second it gets through on the slowest of disks.
_PATIENCE, _BYTES_PER_SECOND = 10, 20e6
_WALK = """
import resource, sys
limit, path = int(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import h5py

def look(name, item):
    for key in list(item.attrs):
        try:
            item.attrs[key]
        except Exception:
            pass
    if isinstance(item, h5py.Dataset):
        try:  # texts and small numbers whole, of large arrays both ends
            item[()] if item.dtype.kind not in "fiub" or item.nbytes < 50e6 else (item[:1], item[-1:])
        except Exception:
            pass

try:
    with h5py.File(path, "r") as file:
        look("/", file)
        file.visititems(look)
except Exception:
    pass  # what is wrong is for the reader to say
"""


def survives(path):
    """Whether a process that walks through an HDF5 file comes back.

    True also where that cannot be tried: on Windows, or where no process is to be had. A file is tried once, and again
    when it has changed.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    bool
    """
    if os.name != "posix" or not sys.executable or getattr(sys, "frozen", False):
        return True
    path = os.path.abspath(path)
    status = os.stat(path)
    return _walk(path, status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=256)
def _walk(path, size, modified, inode):
    limit = _PATIENCE + int(size / _BYTES_PER_SECOND)
    command = [sys.executable, "-c", _WALK, str(limit), path]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:  # no processes to be had here
        return True
    return done.returncode >= 0  # below: ended by a signal
