"""New files that appear under their name when they are complete, and not at all if something fails."""

import contextlib
import os
import uuid


@contextlib.contextmanager
def new_file(path, *, suffixes, overwrite):
    """Yield a temporary name beside `path`; it takes the name `path` when the block ends well, else it is removed.

    Parameters
    ----------
    path : str or os.PathLike
    suffixes : tuple of str
        Refused are names with any other: a name must not promise another format than the one about to be written.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    ValueError
        If the suffix is another one.
    FileExistsError
        If the file exists and `overwrite` is False.
    FileNotFoundError
        If its folder does not exist.
    """
    path = os.path.abspath(os.fspath(path))
    suffix = os.path.splitext(path)[1]
    if suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the name ends in {suffix or 'nothing'}; it must end in {' or '.join(suffixes)}.")
    if not os.path.isdir(os.path.dirname(path)):
        raise FileNotFoundError(f"{path}: the folder does not exist; make it first.")
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or pass overwrite=True.")
    # in the same folder, because only there the renaming is atomic; with the suffix, because libraries look at it
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{uuid.uuid4().hex}{suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
