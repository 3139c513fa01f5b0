"""DIR of ``--out DIR``: checked before any work, and the files in it, which appear when all of them are written."""

import json
import os
import re
from contextlib import ExitStack, contextmanager

from ..new_files import new_file

# A list of numbers, each on a line of its own. Strings hold no line breaks, and no list in here holds another one.
_NUMBERS = re.compile(r'\[\n\s*([^\[\]{}"]*?)\n\s*\]')


def check(place, paths, *, overwrite):
    """Refuse what could not be written, or would replace something.

    Parameters
    ----------
    place : str
        The folder; it need not exist.
    paths : iterable of str
        What is going to be in it.
    overwrite : bool

    Raises
    ------
    NotADirectoryError, PermissionError, FileExistsError
    """
    if os.path.exists(place) and not os.path.isdir(place):
        raise NotADirectoryError(f"--out {place}: a file, not a folder; choose another name.")
    above = os.path.abspath(place)
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise NotADirectoryError(f"--out {place}: {above} is a file, not a folder; choose another name.")
    if not os.access(above, os.W_OK):
        raise PermissionError(f"--out {place}: {above} may not be written to; choose another place.")
    for path in paths:
        if os.path.lexists(path) and not overwrite:
            raise FileExistsError(f"{path} exists; choose another folder or add --overwrite.")


@contextmanager
def new_files(paths, *, overwrite):
    """Temporary names, one per path; the files take their own names when the block ends well, else none of them does.

    The folder is made.
    """
    for path in paths:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with ExitStack() as stack:
        yield [
            stack.enter_context(new_file(path, suffixes=(os.path.splitext(path)[1],), overwrite=overwrite))
            for path in paths
        ]


def write_json(result, path):
    """Write a result as text that one can read: an entry per line, but the numbers of a list on one.

    Raises
    ------
    ValueError
        If a number is infinite or none.
    """
    text = json.dumps(result, indent=1, allow_nan=False)
    with open(path, "w", encoding="utf-8") as file:
        file.write(_NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n")
