"""NWB and Neo input and output (imported as ``neulvm_neo.io``)."""

if __name__ == "io":  # the checkout precedes the standard library on sys.path: be the stdlib module
    import _io
    import sys as _sys

    _f = _sys._stdlib_dir + "/io.py"
    with _io.open_code(_f) as _h:
        exec(compile(_h.read(), _f, "exec"), globals())
else:
    import importlib as _importlib
    import os as _os

    from .fit_file import FitFileError, load_fit, save_fit
    from .neo_blocks import annotated_block, preferred_suffix, read_block, write_block
    from .nwb import read_nwb, read_with_repairs
    from .nwb_annotation import annotate_nwb
    from .nwb_file import NWBReadError
    from .nwb_fit import read_fit
    from .nwb_inspection import inspect_annotation
    from .nwb_writer import write_nwb

    # One line per format of a recording: suffix -> (its reader, its writer), as "module:function" in this folder.
    # A new format is a new file (copy _template.py) and a line here; tests/test_io_formats.py holds it to the contract.
    FORMATS = {
        ".nwb": ("nwb:read_nwb", "nwb_writer:write_nwb"),
        ".nix": ("neo_blocks:read_block", "neo_blocks:write_block"),
        ".pkl": ("neo_blocks:read_block", "neo_blocks:write_block"),
    }

    __all__ = [
        "FORMATS",
        "FitFileError",
        "NWBReadError",
        "annotate_nwb",
        "annotated_block",
        "inspect_annotation",
        "load_fit",
        "preferred_suffix",
        "read",
        "read_block",
        "read_fit",
        "read_nwb",
        "read_with_repairs",
        "save_fit",
        "write",
        "write_block",
        "write_nwb",
    ]

    def read(path, **options):
        """Read a recording in any format: those of `FORMATS` by suffix, every other through Neo.

        Parameters
        ----------
        path : str or os.PathLike
        **options
            Arguments of the format's reader (for ``.nwb`` those of `read_nwb`); it refuses what it does not know.

        Returns
        -------
        neo.Block
        """
        reader, _ = FORMATS.get(_suffix(path), ("neo_blocks:read_block", None))
        return _function(reader)(path, **options)

    def write(path, block, **options):
        """Write a recording in the format its suffix says.

        Parameters
        ----------
        path : str or os.PathLike
        block : neo.Block
        **options
            Arguments of the format's writer, for instance ``overwrite=True``.

        Raises
        ------
        ValueError
            If no format of `FORMATS` has this suffix.
        """
        if _suffix(path) not in FORMATS:
            raise ValueError(
                f"{_os.fspath(path)}: no format to write with this suffix; known are {', '.join(FORMATS)}."
            )
        _, writer = FORMATS[_suffix(path)]
        _function(writer)(path, block, **options)

    def _suffix(path):
        return _os.path.splitext(_os.fspath(path))[1].lower()

    def _function(name):
        module, function = name.split(":")
        return getattr(_importlib.import_module(f"{__name__}.{module}"), function)
