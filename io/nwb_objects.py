"""NWB objects written straight into HDF5, the way the schema has them (h5py groups in and out)."""

import uuid

import numpy as np

_MOST_LINKS = 20  # after each other


def processing_module(file, name, description):
    """The processing module of this name, made if the file has none."""
    processing = file.require_group("processing")
    if name not in processing:
        _typed(processing.create_group(name), "ProcessingModule", "core", description=description)
    return processing[name]


def link_to_elsewhere(group, name, depth=0):
    """The file in which an object of an HDF5 file really lies, or None if it lies in this one or is not there.

    Nothing is opened on the way: h5py opens what a link leads to as it opened the file itself, that is for writing.
    """
    import h5py

    if depth > _MOST_LINKS:
        return "links that lead to each other"
    steps, at = [step for step in name.split("/") if step], group
    for i, step in enumerate(steps):
        link = at.get(step, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            return link.filename
        if isinstance(link, h5py.SoftLink):
            start = at.file if link.path.startswith("/") else at
            return link_to_elsewhere(start, "/".join([link.path, *steps[i + 1 :]]), depth + 1)
        if not isinstance(link, h5py.HardLink) or not isinstance(at := at[step], h5py.Group):
            return None
    return None


def add_time_series(module, name, values, unit, description, comments, rate=None, times=None, control=None):
    """Add a TimeSeries.

    Parameters
    ----------
    module : h5py.Group
    name, unit, description, comments : str
    values : numpy.ndarray, shape (n_samples, n_channels)
    rate : float, optional
        Samples per second, if they are regular. Then ``times[0]`` is the starting time; else all `times` are written.
    times : numpy.ndarray, shape (n_samples,)
        In s.
    control : (numpy.ndarray of int, list of str), optional
        A label for every sample, and what the labels mean.
    """
    group = module.create_group(name)
    _typed(group, "TimeSeries", "core", description=description, comments=comments)
    data = group.create_dataset("data", data=np.asarray(values, dtype=float), compression="gzip", chunks=True)
    data.attrs.update({"conversion": 1.0, "offset": 0.0, "resolution": -1.0, "unit": unit})
    if rate is not None:
        start = group.create_dataset("starting_time", data=float(times[0]))
        start.attrs.update({"rate": float(rate), "unit": "seconds"})
    else:
        stamps = group.create_dataset("timestamps", data=times, compression="gzip", chunks=True)
        stamps.attrs.update({"interval": np.int32(1), "unit": "seconds"})
    if control is not None:
        labels, meanings = control
        group.create_dataset("control", data=np.asarray(labels, np.uint32), compression="gzip", chunks=True)
        group.create_dataset("control_description", data=_texts(meanings))


def add_table(module, name, description, columns, namespace):
    """Add a DynamicTable.

    Parameters
    ----------
    module : h5py.Group
    name, description : str
    columns : dict of str to (values, str)
        One value, or one row of values, per row of the table, and a description.
    namespace : str
        Where the schema of this file keeps tables, see `table_namespace`.
    """
    table = module.create_group(name)
    _typed(table, "DynamicTable", namespace, description=description, colnames=_texts(columns))
    n_rows = len(next(iter(columns.values()))[0])
    _typed(table.create_dataset("id", data=np.arange(n_rows)), "ElementIdentifiers", namespace)
    for column, (values, text) in columns.items():
        _add_vector(table, column, values, text, namespace)
    return table


def add_region_column(table, name, rows, target, description, namespace):
    """Add a column that refers, for every row of a DynamicTable, to some rows (lists of int) of another table."""
    values = np.concatenate([np.asarray(own, dtype=np.int64) for own in rows])
    region = _add_vector(table, name, values, description, namespace, "DynamicTableRegion")
    region.attrs["table"] = target.ref
    ends = np.cumsum([len(own) for own in rows]).astype(np.uint32)
    index = _add_vector(table, f"{name}_index", ends, f"Index for VectorData {name!r}", namespace, "VectorIndex")
    index.attrs["target"] = region.ref
    set_columns(table, [*columns_of(table), name])


def add_column(table, name, values, description, namespace):
    """Add a column of one value per row to a DynamicTable."""
    _add_vector(table, name, values, description, namespace)
    set_columns(table, [*columns_of(table), name])


def remove_column(table, name):
    """Remove a column without index from a DynamicTable."""
    del table[name]
    set_columns(table, [column for column in columns_of(table) if column != name])


def columns_of(table):
    """Names of the columns of a DynamicTable."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in table.attrs["colnames"]]


def set_columns(table, names):
    """Say which columns a DynamicTable has."""
    table.attrs["colnames"] = _texts(names)


def table_namespace(table):
    """Where the schema of this file keeps tables: "hdmf-common", in the first files of NWB 2 still "core"."""
    return table["id"].attrs.get("namespace", "hdmf-common")


def _add_vector(table, name, values, description, namespace, neurodata_type="VectorData"):
    values = _texts(values) if len(values) and isinstance(values[0], str) else np.asarray(values)
    dataset = table.create_dataset(name, data=values)
    _typed(dataset, neurodata_type, namespace, description=description)
    return dataset


def _typed(item, neurodata_type, namespace, **attributes):
    attributes |= {"neurodata_type": neurodata_type, "namespace": namespace, "object_id": str(uuid.uuid4())}
    item.attrs.update(attributes)


def _texts(values):
    import h5py

    return np.array([str(value) for value in values], dtype=h5py.string_dtype())
