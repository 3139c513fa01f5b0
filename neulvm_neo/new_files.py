"""New files that appear under their name when they are complete, and leave nothing behind if they never become so."""

import contextlib
import errno
import hashlib
import os
import re
import stat
import uuid

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed: that is lock enough
    fcntl = None

_CHUNK = 1 << 22  # bytes copied at once
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAMED = 40  # letters of the name that a temporary one repeats: names longer than 255 bytes are not to be had


@contextlib.contextmanager
def new_file(path, *, suffixes, overwrite):
    """Yield a temporary name beside `path`; it takes the name `path` when the block ends well, else it is removed.

    Parameters
    ----------
    path : str or os.PathLike
        A symbolic link of this name is replaced itself; what it points to is not touched.
    suffixes : tuple of str
        Refused are names with any other: a name must not promise another format than the one about to be written.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    ValueError
        If the suffix is another one.
    FileExistsError
        If the file exists and `overwrite` is False; or if somebody else made or changed it meanwhile: then it stays.
    FileNotFoundError, PermissionError
        If its folder does not exist, or cannot be written to.
    OSError
        If it is not an ordinary file, is open for writing in another program, or the disk is full.

    Notes
    -----
    A process that is killed leaves its temporary file. The next one that writes a file of the same name removes it: a
    lock, which the system drops with the process, tells what is abandoned from what is being written.
    """
    path = os.path.abspath(os.fspath(path))
    folder, base = os.path.split(path)
    suffix = os.path.splitext(path)[1]
    if suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the name ends in {suffix or 'nothing'}; it must end in {' or '.join(suffixes)}.")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: the folder does not exist; make it first.")
    with _in_words(path):
        _remove_abandoned(folder, base)
        before = _state(path)
        if before is not None and not overwrite:
            raise FileExistsError(f"{path} exists; choose another name or pass overwrite=True.")
        _refuse_what_cannot_be_replaced(path)
        with _own_name(folder, base, suffix) as temporary:
            try:
                yield temporary
                _to_disk(temporary)
                if _state(path) != before:
                    raise _meanwhile(path)
                _refuse_what_cannot_be_replaced(path)
                _give_name(temporary, path, before is None)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(temporary)
        _to_disk(folder)


def copy_unchanged(source, target, reserve=0):
    """Copy the bytes of a file, and make sure that nobody changed them meanwhile.

    Parameters
    ----------
    source, target : path-like
        `target` must not exist.
    reserve : int, default 0
        Zero bytes to write behind the copy, for what is to be added to it: if there is no room, better now.

    Returns
    -------
    str
        SHA-256 of the bytes.

    Raises
    ------
    OSError
        If `source` is open for writing in another program, or changed while it was copied.
    """
    digest = hashlib.sha256()
    with open(source, "rb") as given, open(target, "xb") as copy:
        if not _lock(given.fileno(), shared=True):
            raise OSError(f"{os.fspath(source)}: open for writing in another program; close it there first.")
        before, n_bytes = os.fstat(given.fileno()), 0
        while n_bytes <= before.st_size and (chunk := given.read(_CHUNK)):  # it may grow as fast as it is read
            digest.update(chunk)
            copy.write(chunk)
            n_bytes += len(chunk)
        after = os.fstat(given.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or n_bytes != after.st_size:
            raise OSError(f"{os.fspath(source)}: changed while it was being copied; nothing was written, run it again.")
        for at in range(0, reserve, _CHUNK):
            copy.write(bytes(min(_CHUNK, reserve - at)))
    return digest.hexdigest()


@contextlib.contextmanager
def _in_words(path):
    """Errors of the file system as sentences that name the file and the remedy."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 raises both, with the number of the system's error in its text
        number = getattr(error, "errno", None)
        if number in _NO_SPACE or any(f"errno = {full}," in str(error) for full in _NO_SPACE):
            text = f"{path}: no space left to write it; nothing was written. Free some, or choose another disk."
            raise OSError(text) from error
        about = os.path.basename(os.fsdecode(getattr(error, "filename", None) or ""))
        if number in (errno.EACCES, errno.EPERM, errno.EROFS) and about.startswith(
            f".{os.path.basename(path)[:_NAMED]}."
        ):
            raise PermissionError(f"{path}: its folder cannot be written to; choose another place.") from error
        raise


def _state(path):
    """What tells one version of a file from another; None if there is none. Links are not followed."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _refuse_what_cannot_be_replaced(path):
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return
        if not stat.S_ISREG(mode):
            raise OSError(f"{path}: a folder or a device, not a file; choose another name.")
        if fcntl is None:
            return
        with contextlib.suppress(PermissionError):  # a file that we may not read can still be replaced
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if not _lock(descriptor, shared=True):
                    raise OSError(f"{path}: open for writing in another program; close it there first.")
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def _own_name(folder, base, suffix):
    """A name that nobody else uses, with a lock file beside it that is locked as long as this process lives.

    In the same folder, because only there the renaming is atomic; with the suffix, because libraries look at it.
    """
    while True:
        stem = os.path.join(folder, f".{base[:_NAMED]}.{uuid.uuid4().hex}")
        descriptor = os.open(f"{stem}.lock", os.O_CREAT | os.O_EXCL | os.O_RDWR)
        if _lock(descriptor) and _state(f"{stem}.lock") is not None:
            break
        os.close(descriptor)  # somebody took it for abandoned before it was locked
    try:
        yield stem + suffix
    finally:
        if fcntl is None:
            os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{stem}.lock")
        if fcntl is not None:
            os.close(descriptor)


def _remove_abandoned(folder, base):
    """Remove temporary files of this name whose process is gone."""
    pattern = re.compile(re.escape(f".{base[:_NAMED]}.") + r"[0-9a-f]{32}\.lock")
    locks = [name for name in os.listdir(folder) if pattern.fullmatch(name)]
    for lock in locks:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            descriptor = None if fcntl is None else os.open(os.path.join(folder, lock), os.O_RDWR)
            try:
                if descriptor is not None and not _lock(descriptor):
                    continue
                stem = lock.removesuffix("lock")
                if descriptor is None:
                    os.remove(os.path.join(folder, lock))  # refused by the system while its process lives
                for name in os.listdir(folder):
                    if name.startswith(stem) and name != lock:
                        os.remove(os.path.join(folder, name))
                if descriptor is not None:
                    os.remove(os.path.join(folder, lock))
            finally:
                if descriptor is not None:
                    os.close(descriptor)


def _lock(descriptor, shared=False):
    """Lock an open file for as long as it is open; False if somebody else has. Where there are no locks: True."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _give_name(temporary, path, is_new):
    if is_new:
        try:
            os.link(temporary, path)  # unlike a renaming it does not replace what came into being meanwhile
            return
        except FileExistsError:
            raise _meanwhile(path) from None
        except OSError:  # a file system without hard links
            if _state(path) is not None:
                raise _meanwhile(path) from None
    os.replace(temporary, path)


def _meanwhile(path):
    return FileExistsError(f"{path}: somebody else wrote to it meanwhile, so it was left as it is; run again.")


def _to_disk(path):
    """Ask the system to keep what was written even if the power fails."""
    with contextlib.suppress(PermissionError):  # folders cannot be opened on Windows
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # not every file system can
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
