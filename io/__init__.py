"""NWB and Neo input and output (imported as ``neulvm_neo.io``)."""

if __name__ == "io":  # the checkout precedes the standard library on sys.path: be the stdlib module
    import _io
    import sys as _sys

    _f = _sys._stdlib_dir + "/io.py"
    with _io.open_code(_f) as _h:
        exec(compile(_h.read(), _f, "exec"), globals())
else:
    from .nwb import read_nwb as read_nwb
    from .nwb_annotation import annotate_nwb as annotate_nwb
    from .nwb_file import NWBReadError as NWBReadError
    from .nwb_writer import write_nwb as write_nwb
