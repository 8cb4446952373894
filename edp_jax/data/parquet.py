"""Columns of parquet files, read by the optional package pyarrow."""

import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from edp_jax.data.raw import called, check_readable
from edp_jax.errors import not_installed, one_line
from edp_jax.types import InputError


def column_names(path: str) -> list[str]:
    """The names of the columns of a file.

    Raises:
      InputError: pyarrow is missing, or the file is missing or damaged.
    """
    return list(_open(path).schema_arrow.names)


def read_columns(path: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads some columns of a file.

    Args:
      path: a file that fits into memory.
      names: of the columns.

    Returns:
      Arrays [N] of numbers, flags or texts; of a column whose entries are lists of equal length an
      array [N, length].

    Raises:
      InputError: see `column_names`, a column is not there, has missing values, or its entries are
        lists of unequal length or something else than numbers, flags, texts and lists of these.
    """
    file = _open(path)
    missing = [name for name in names if name not in file.schema_arrow.names]
    if missing:
        raise InputError(
            f"{called(path)}: no column {missing[0]!r}; its columns are "
            f"{', '.join(file.schema_arrow.names)[:120]}"
        )
    try:
        table = file.read(columns=list(names))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return {name: _to_numpy(path, name, table.column(name).combine_chunks()) for name in names}


def _import(path: str) -> ModuleType:
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise not_installed(called(path), error, "tables") from error
    return pyarrow


def _open(path: str) -> Any:
    """The file as a pyarrow.parquet.ParquetFile."""
    pyarrow = _import(path)
    check_readable(path)
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> InputError:
    size = os.path.getsize(path)
    return InputError(
        f"{called(path)}: not a complete parquet file ({size} bytes, {one_line(error)[:80]}); copy "
        "or write it again"
    )


def _to_numpy(path: str, name: str, column: Any) -> np.ndarray:
    source = f"{called(path)}: column {name!r}"
    types, compute = _import(path).types, _import(path).compute
    kind, shape = column.type, (len(column),)
    if column.null_count:
        raise InputError(f"{source} has {column.null_count:,} missing values; fill or drop them")
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lengths = compute.list_value_length(column).unique().to_pylist()
        if len(lengths) > 1:
            told = f"{min(lengths)} to {max(lengths)} numbers per row"
            raise InputError(f"{source} has {told}; store as many in every row")
        shape, column = (*shape, *lengths), column.flatten()
        if column.null_count:
            raise InputError(f"{source} has missing values inside its lists; fill or drop them")
    kind, text = column.type, types.is_string(column.type) or types.is_large_string(column.type)
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    if not (number or text):
        raise InputError(f"{source} holds {kind}, not numbers; store numbers, or leave it out")
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)
