"""Settings: dataclass fields that say their value, meaning and limits in one place.

A group of settings is a frozen dataclass whose fields are made by `setting`. Everything else that
is said about a setting is read from its field: the keys of the command line, the check of a value,
the settings that can be swept, the tables of the documentation.
"""

import dataclasses
import difflib
import math
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from flax import struct

from edp_jax.types import InputError

# The magnitudes that a 32-bit float can have. Compiled programs compute with such floats: in them a
# larger number is infinite, and a smaller one is 0.
_SMALLEST, _LARGEST = 1.18e-38, 3.40e38


class Limits(NamedTuple):
    """What values a setting can have; None where there is no such limit."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None

    def allow(self, value: Any) -> bool:
        """Whether a value keeps to the limits; a number must also be one of a 32-bit float."""
        if self.one_of is not None:
            return value in self.one_of
        if _misfit(value):
            return False
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
        )

    def __str__(self) -> str:
        if self.one_of is not None:
            return "one of " + ", ".join(self.one_of)
        words = (("at least", self.at_least), ("above", self.above), ("at most", self.at_most))
        return " and ".join(f"{word} {limit:.10g}" for word, limit in words if limit is not None)


class Setting(NamedTuple):
    """One setting, as `describe` lists it."""

    name: str
    default: Any
    meaning: str
    limits: Limits
    traced: bool  # an argument of the compiled program: other values do not compile again
    may_change: bool  # may have another value when a run goes on
    read_with: Mapping[
        str, Container
    ]  # other settings: it is read only while they have such a value

    @property
    def kind(self) -> str:
        """The type of its values in words."""
        names = {bool: "True or False", int: "integer", float: "number", str: "text"}
        return names.get(type(self.default), "values in parentheses")


def setting(
    default: Any,
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    one_of: Iterable[str] | None = None,
    traced: bool = False,
    may_change: bool = False,
    read_with: Mapping[str, Container] | None = None,
) -> Any:
    """A field of a dataclass of settings.

    Args:
      default: its value where none is given.
      meaning: a short sentence without a full stop, with the unit.
      at_least, above, at_most: limits of a number. A tuple keeps to them with each of its values.
      one_of: the values of a text.
      traced: the value is an argument of the compiled program, so that another one does not compile
        again and several are trained side by side (a sweep). Otherwise it shapes the program.
      may_change: training does not depend on it, so it may have another value when a run goes on.
      read_with: settings of the same dataclass and the values with which this one has an effect.
    """
    limits = Limits(at_least, above, at_most, None if one_of is None else tuple(one_of))
    metadata = {"meaning": meaning, "limits": limits, "may_change": may_change}
    metadata["read_with"] = dict(read_with or {})
    return struct.field(pytree_node=traced, default=default, metadata=metadata)


def redefined(group: type, name: str, default: Any) -> Any:
    """The setting `name` of another dataclass, with another default."""
    field = next(field for field in dataclasses.fields(group) if field.name == name)
    return dataclasses.field(default=default, metadata=field.metadata)


def describe(group: type) -> list[Setting]:
    """The settings of a dataclass, in the order of their declaration; other fields are left out."""
    return [
        Setting(
            field.name,
            field.default,
            field.metadata["meaning"],
            field.metadata["limits"],
            field.metadata["pytree_node"],
            field.metadata["may_change"],
            field.metadata["read_with"],
        )
        for field in dataclasses.fields(group)
        if "meaning" in field.metadata
    ]


def traced_names(group: type) -> list[str]:
    """The settings that are arguments of the compiled program: those that a sweep can vary."""
    return [entry.name for entry in describe(group) if entry.traced]


def make(group: type, values: Mapping[str, Any]) -> Any:
    """A dataclass of settings with the given values, checked.

    Raises:
      InputError: the group has no such setting, or a value does not keep to its type or limits.
    """
    known = {entry.name: entry for entry in describe(group)}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise InputError(f"setting {name!r} is unknown here: did you mean {near!r}?")
    for name, value in values.items():
        check(known[name], value)
    return group(**{name: _converted(known[name], value) for name, value in values.items()})


def check(entry: Setting, value: Any, label: str | None = None) -> None:
    """Refuses a value that a setting cannot have; a tuple for a number is a sweep over its values.

    Raises:
      InputError: the line names the setting (or `label`), the value and what it must be.
    """
    label = label or entry.name
    if not _has_type(entry.default, value):
        example = f"{label}={entry.default!r}"
        raise InputError(f"{label}={value!r:.60} must be {entry.kind}, as in {example}")
    values = value if isinstance(value, tuple | list) else (value,)
    if not all(item is None or entry.limits.allow(item) for item in values):
        misfit = next(filter(None, map(_misfit, values)), "")
        needed = " and ".join(filter(None, (str(entry.limits), misfit)))
        raise InputError(f"{label}={value!s:.60} must be {needed}: set it to such a value")


def _misfit(value: Any) -> str:
    """Tells what is required of a number that a 32-bit float cannot hold; "" for other values."""
    if not isinstance(value, int | float) or not value or _SMALLEST <= abs(value) <= _LARGEST:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "finite"
    return f"of 32 bits (0, or {_SMALLEST:g} to {_LARGEST:g} in magnitude)"


def _has_type(default: Any, value: Any) -> bool:
    """Whether a value is of the type of the default; an integer is a number, None is only None."""
    if default is None or value is None:
        return default is None
    if isinstance(default, tuple):
        return isinstance(value, tuple | list) and all(
            not default or _has_type(default[0], item) for item in value
        )
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def _converted(entry: Setting, value: Any) -> Any:
    if isinstance(entry.default, tuple):
        return tuple(value)
    return float(value) if isinstance(entry.default, float) else value
