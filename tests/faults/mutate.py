"""Damage: bytes, arrays and JSON values, changed at random; `rng` is a random.Random."""

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Some bits flipped, bytes replaced, removed or put in, or the end cut off."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        how, at = rng.randrange(100), rng.randrange(max(1, len(damaged)))
        if how < 45 and damaged:
            damaged[at] ^= 1 << rng.randrange(8)
        elif how < 70 and damaged:
            damaged[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif how < 80:
            part = damaged[at : at + rng.randrange(1, 9)]
            damaged[at : at + len(part)] = bytes(rng.choice((0, 0xFF)) for _ in part)
        elif how < 87:
            del damaged[at : at + rng.randrange(1, 40)]
        elif how < 94:
            damaged[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20)))
        else:
            del damaged[at:]
    return bytes(damaged)


def mutate_arrays(rng: random.Random, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """One to three arrays of a file with other shapes, types, values or names, or gone."""
    changed = dict(arrays)
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(sorted(changed))
        how = rng.randrange(8)
        if how == 0 and len(changed) > 1:
            del changed[name]
        elif how == 1:
            changed[rng.choice((*sorted(arrays), f"{name}_", f"next_{name}", "x"))] = changed[name]
        elif how == 2:
            changed[name] = rng.choice(_STRANGE)
        else:
            changed[name] = _mutate_array(rng, np.asarray(changed[name]))
    return changed


_STRANGE = (
    np.float32(1.5),
    np.int64(-1),
    np.zeros(0, np.float32),
    np.zeros((0, 3), np.float32),
    np.zeros((3, 0)),
    np.array("a"),
    np.array([b"a", b"bc"]),
    np.array(["NaN", "1"], "S"),
    np.zeros((2, 2, 2, 2), np.uint8),
    np.array([2**64 - 1], np.uint64),
    np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    np.array([1 + 2j]),
    np.array([np.nan, np.inf]),
)


def _mutate_array(rng: random.Random, array: np.ndarray) -> np.ndarray:
    how = rng.randrange(9)
    if how == 0:
        return array[: rng.randrange(len(array) + 1)] if array.ndim else array[None]
    if how == 1:
        return array[..., None]
    if how == 2:
        return array.T
    if how == 3:
        return array.reshape(-1)
    if how == 4:
        return np.concatenate([array, array]) if array.ndim else array
    if array.dtype.kind not in "buif":
        return array
    if how == 5:
        return array.astype(rng.choice(("f2", "f8", "i8", "u1", "?", "c16", "S4", ">f4")))
    values = array.astype(np.float64)
    if values.size:
        at = rng.randrange(values.size)
        values.reshape(-1)[at] = rng.choice((np.nan, np.inf, -1, 2, 0.5, 1e39, -1e300, 2.0**63))
    return values


def mutate_json(rng: random.Random, value: Any) -> Any:
    """One to three values of a JSON document changed, removed, or put somewhere else."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = _places(changed)
        if not places:
            return changed
        holder, key = rng.choice(places)
        how = rng.randrange(6)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[rng.choice((*sorted(holder), f"{key}_", ""))] = holder.pop(key)
        elif how == 2:
            holder[key] = copy.deepcopy(rng.choice([h[k] for h, k in places]))
        elif how == 3 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * rng.choice((-1, 0, 0.5, 2, 10**6)) + rng.choice((0, 0, 1))
        else:
            holder[key] = copy.deepcopy(rng.choice(_ODD))
    return changed


_ODD = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, 10**12, 10**30, float("nan")),
    *("", "x", "0", "\n", "ä\ud800", "/", "../x", "x" * 1000, [], {}, [[]], [0], [None], ["x"]),
    *({"": None}, {"x": 1}, {"seed": "x"}),
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Everything inside a JSON value, as (what holds it, its key or number)."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in _places(value[key])]
