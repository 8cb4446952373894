"""Columns of .parquet and .csv files, read by the optional package pyarrow."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from edp_jax.data.names import listed
from edp_jax.data.raw import called, check_readable
from edp_jax.errors import not_installed, one_line
from edp_jax.types import InputError

_CSV_BLOCK = 2**26  # bytes
_POINTER = b"version https://git-lfs"  # how a file begins that Git LFS has not fetched


def column_names(path: str) -> list[str]:
    """The names of the columns of a file.

    Raises:
      InputError: pyarrow is missing, or the file is missing or damaged.
    """
    pyarrow = package(path)
    check_readable(path)
    with _told(path):
        if _is_csv(path):
            with pyarrow.csv.open_csv(path, read_options=_blocks(pyarrow)) as opened:
                return list(opened.schema.names)
        return list(pyarrow.parquet.read_schema(path).names)


def read_columns(
    path: str, names: Sequence[str], *, where_there: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Reads some columns of a file.

    Args:
      path: a file that fits into memory.
      names: of the columns.
      where_there: of columns that are read as well, but may be missing.

    Returns:
      Arrays [N] of numbers, flags or texts; of a column whose entries are lists of equal length an
      array [N, length].

    Raises:
      InputError: see `column_names`, a column is not there, has missing values, or its entries are
        lists of unequal length or something else than numbers, flags, texts and lists of these.
    """
    there, pyarrow = column_names(path), package(path)
    names = [*names, *(name for name in where_there if name in there)]
    known = set(there)
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            f"{called(path)}: no column {missing[0]!r}; its columns are {listed(there)}"
        )
    with _told(path):
        if _is_csv(path):
            options = pyarrow.csv.ConvertOptions(
                include_columns=names, null_values=[""], strings_can_be_null=True
            )
            table = pyarrow.csv.read_csv(
                path, read_options=_blocks(pyarrow), convert_options=options
            )
        else:
            table = pyarrow.parquet.ParquetFile(path).read(columns=names)
        return {name: _to_numpy(path, name, table.column(name).combine_chunks()) for name in names}


def _blocks(pyarrow: ModuleType) -> Any:
    """Blocks that hold the longest lines: a million columns."""
    return pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK)


def package(path: str) -> ModuleType:
    """The package pyarrow.

    Args:
      path: of the file or folder that needs it.

    Raises:
      InputError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise not_installed(called(path), error, "tables") from error
    return pyarrow


def _is_csv(path: str) -> bool:
    return path.lower().endswith(".csv")


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Tells in one line why a file cannot be read."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, MemoryError, package(path).ArrowException) as error:
        with open(path, "rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                remedy = "run git lfs pull in its folder"
                raise InputError(f"{called(path)}: only a pointer of Git LFS; {remedy}") from error
        kind, size = "csv" if _is_csv(path) else "parquet", os.path.getsize(path)
        raise InputError(
            f"{called(path)}: not a complete {kind} file ({size} bytes, {one_line(error)[:80]}); "
            "copy or write it again"
        ) from error


def _to_numpy(path: str, name: str, column: Any) -> np.ndarray:
    source = f"{called(path)}: column {name!r}"
    types, compute = package(path).types, package(path).compute
    kind, shape = column.type, (len(column),)
    if column.null_count:
        row = compute.index(compute.is_null(column), True).as_py()
        raise InputError(
            f"{source} has {column.null_count:,} missing values, the first in row {row}; fill or "
            "drop them"
        )
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
