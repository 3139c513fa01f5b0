"""Cells of NWB tables as plain Python values."""

import ast
import contextlib

import numpy as np

_PLAIN = (str, bool, int, float)


def decoded(value):
    """A cell as a plain value: NumPy scalars become Python's, bytes and text such as ``"b'CA1'"`` become text.

    Examples
    --------
    >>> decoded(b"CA1"), decoded("b'CA1'"), decoded(np.int64(3))
    ('CA1', 'CA1', 3)
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and len(value) > 2 and value[:2] in ("b'", 'b"') and value[-1] == value[1]:
        with contextlib.suppress(ValueError, SyntaxError):  # text that merely looks like it stays as it is
            value = ast.literal_eval(value)
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def plain_columns(table, rows, arrays=False):
    """Columns of a DynamicTable that hold text, bools or numbers: name -> one value per row.

    Parameters
    ----------
    table : hdmf.common.DynamicTable
    rows : sequence of int
    arrays : bool, default False
        Also columns that hold an array of such values per row. References to other objects are never returned.
    """
    from hdmf.common import DynamicTableRegion

    columns = {}
    for name in table.colnames:
        column = table[name]
        is_array = hasattr(column, "target") or getattr(column.data, "ndim", 1) > 1
        if isinstance(getattr(column, "target", column), DynamicTableRegion) or (is_array and not arrays):
            continue
        cells = column[:]  # at once: asking HDF5 row by row is a hundred times slower
        values = [_plain_array(cells[row]) if is_array else decoded(cells[row]) for row in rows]
        if all(isinstance(value, (*_PLAIN, np.ndarray)) for value in values):
            columns[name] = values
    return columns


def unit_annotations(table, ids, rows):
    """What the units table says of every selected unit, as annotations: a dict per row."""
    columns = plain_columns(table, rows)
    if "unit_id" in columns:  # `unit_id` is always units.id; what the file calls so keeps its place under its full name
        columns["units.unit_id"] = columns.pop("unit_id")
    own = [{"unit_id": ids[row], **{name: values[i] for name, values in columns.items()}} for i, row in enumerate(rows)]
    if "electrodes" in table.colnames:
        for annotations, row in zip(own, rows, strict=True):
            annotations.update(_electrode_annotations(table["electrodes"], int(row)))
    return own


def _electrode_annotations(column, row):
    region = getattr(column, "target", column)
    if region is column:  # no index: exactly one electrode per unit
        which = np.atleast_1d(region.data[row])
    else:
        which = region.data[int(column.data[row - 1]) if row else 0 : int(column.data[row])]
    electrodes, which = region.table, [int(i) for i in which]
    annotations = {"electrodes": [int(electrodes.id[i]) for i in which]}
    for source, name in (("location", "electrodes.location"), ("group_name", "electrodes.group")):
        if source in electrodes.colnames and which:
            values = [str(decoded(electrodes[source].data[i])) for i in which]
            annotations[name] = ", ".join(dict.fromkeys(values))  # one text where all electrodes of the unit agree
    return annotations


def _plain_array(cells):
    """An array of text, bools or numbers; None for anything else (references are not even looked at)."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "biuf":
        return cells
    cells = [decoded(cell) for cell in cells]
    return np.array(cells) if all(isinstance(cell, _PLAIN) for cell in cells) else None
