"""Files damaged byte by byte, read in a process of its own: ``python -m tests.io_damage FOLDER SEED N``.

Prints one JSON object per file: "refused", "as it was" (every unit has its spikes), "told" (a warning names what was
left out), "index" (a wrong border between two units, of which a file cannot know: the spikes are all there), or what
went wrong; "HDF5" where the library never returns or crashes, which nothing in this process could prevent.
"""

import json
import os
import random
import signal
import sys
import time
import warnings

import numpy as np
from neulvm_neo.io import NWBReadError, read_nwb

from .io_samples import make_nwb

_PATIENCE = 120.0  # s: more than the reader itself allows HDF5


def counts(block):
    n_units = len(block.segments[0].spiketrains)
    return [sum(segment.spiketrains[i].size for segment in block.segments) for i in range(n_units)]


def outcome(path, right):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = counts(read_nwb(path))
        except NWBReadError as error:
            text = str(error)
            return {"what": "refused"} if "\n" not in text and os.path.basename(path) in text else {"what": text}
        except Exception as error:
            return {"what": f"{type(error).__name__}: {error}"}
    ours = [str(w.message) for w in caught if os.path.basename(path) in str(w.message)]
    if found == right:
        return {"what": "as it was"}
    if ours:
        return {"what": "told"}
    if sum(found) == sum(right) and len(found) == len(right):
        return {"what": "index"}
    return {"what": "silent", "found": found, "right": right}


def damaged(content, rng):
    """A copy with a few bytes flipped, a hole, or its end cut off."""
    content = bytearray(content)
    kind = rng.random()
    if kind < 0.1:
        return bytes(content[: rng.randrange(len(content))])
    if kind < 0.25:
        at = rng.randrange(len(content))
        content[at : at + 64] = bytes(len(content[at : at + 64]))
        return bytes(content)
    for _ in range(rng.choice([1, 1, 4, 32])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def main(folder, seed, n):
    rng = random.Random(int(seed))
    times = np.random.default_rng(0)
    spikes = [np.sort(times.uniform(0, 10, 40 + 7 * i)) for i in range(4)]
    path = os.path.join(folder, "damaged.nwb")
    content = open(make_nwb(os.path.join(folder, "good.nwb"), spikes, [[[0.0, 10.0]]] * 4), "rb").read()
    right = [len(train) for train in spikes]
    outcome(os.path.join(folder, "good.nwb"), right)  # loads the libraries before the first fork
    useful = _useful(content, spikes)
    for i in range(int(n)):
        with open(path, "wb") as file:
            file.write(damaged(content, rng) if i % 2 else _damaged_there(content, useful, rng))
        child = os.fork()
        if child == 0:
            print(json.dumps(outcome(path, right)), flush=True)
            os._exit(0)
        if not _ends_well(child):
            print(json.dumps({"what": "HDF5"}), flush=True)


def _ends_well(child):
    """Whether a child ends by itself and without a signal; one that hangs is killed."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _useful(content, spikes):
    """Where the units are in the file: most of it is the schema, which matters little."""
    at = content.find(spikes[0].tobytes()[:64])
    return range(max(at - 6000, 0), min(at + 8000, len(content)))


def _damaged_there(content, useful, rng):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        content[rng.choice(useful)] ^= 1 << rng.randrange(8)
    return bytes(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
