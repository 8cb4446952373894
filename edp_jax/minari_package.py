"""Minari (minari.farama.org), by its own package, which only this file imports.

A dataset of Minari names the environment it was recorded in by the import path of its class, with
arguments, and Minari calls what is named. Metadata may come from anywhere, so an environment is
made only where gymnasium knows it on this machine, under that id and with that path.
"""

import contextlib
import functools
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from edp_jax.errors import not_installed, one_line
from edp_jax.files import parse_json, read_json
from edp_jax.types import InputError

_SPECS = ("eval_env_spec", "env_spec")  # the one to evaluate in first
_SPACES = ("observation_space", "action_space")
_WRAPPERS = "gymnasium.wrappers."


def package(dataset_id: str) -> ModuleType:
    """Minari's package.

    Args:
      dataset_id: of the dataset that needs it.

    Raises:
      InputError: it is not installed.
    """
    try:
        import minari
    except ImportError as error:
        raise not_installed(f"minari:{dataset_id}", error, "minari") from error
    return minari


def open_dataset(dataset_id: str, progress: Callable[[str], None] = print) -> tuple[Any, dict]:
    """Opens a dataset, which Minari downloads first where it is not on this machine.

    Args:
      dataset_id: (namespace/)name-v<number>.
      progress: takes a line before a download.

    Returns:
      The dataset, a minari.MinariDataset, and its metadata.

    Raises:
      InputError: the package is missing, there is no such dataset, or it cannot be read.
    """
    minari, source = package(dataset_id), f"minari:{dataset_id}"
    place = told(source, lambda: minari.storage.get_dataset_path(dataset_id))
    if not os.path.exists(place / "data"):
        progress(f"{source}: not on this machine, Minari downloads it")
        download = functools.partial(minari.storage.hosting.download_dataset, dataset_id)
        told(source, download, f", or put its folder at '{place}'")
    metadata = told(source, lambda: _checked(source, place / "data"))
    return told(source, lambda: minari.load_dataset(dataset_id)), metadata


def make_env(dataset_id: str) -> Any:
    """Makes the environment that a dataset names for evaluation, a gymnasium.Env.

    Raises:
      InputError: see `open_dataset`, or the dataset names no environment that can be made.
    """
    source = f"environment 'minari:{dataset_id}'"
    dataset, metadata = open_dataset(dataset_id)
    named = [metadata[key] for key in _SPECS if metadata.get(key) is not None]
    if not named:
        raise InputError(
            f"{source}: the dataset names none; give one as --config.env_id (none: only train)"
        )
    _check_spec(source, named[0])
    try:
        return dataset.recover_environment(eval_env=True, disable_env_checker=True)
    except Exception as error:  # constructors raise what they like
        raise InputError(
            f"{source} cannot be made ({type(error).__name__}: {one_line(error)[:80]}); install "
            "what it needs, or give another as --config.env_id (none: only train)"
        ) from error


def told(source: str, action: Callable[[], Any], otherwise: str = "") -> Any:
    """What an action returns that calls Minari, which raises errors of many kinds.

    Args:
      source: what error messages begin with.
      action: what to do.
      otherwise: a second remedy.

    Raises:
      InputError: the action raised an error; the line tells which.
    """
    try:
        return action()
    except InputError:
        raise
    except ImportError as error:
        raise not_installed(source, error, "minari") from error
    except Exception as error:
        remedy = "see what there is with `minari list local` and `minari list remote`"
        raise InputError(f"{source}: {one_line(error)}; {remedy}{otherwise}") from error


def _checked(source: str, folder: Any) -> dict[str, Any]:
    """The metadata of a dataset, after what Minari would believe without a look."""
    metadata = read_json(folder / "metadata.json")
    if not isinstance(metadata, dict):
        raise ValueError("its metadata.json holds no object")
    count, size = metadata.get("total_episodes"), _bytes_in(folder)
    if type(count) is not int or not 0 <= count <= size:  # Minari takes memory for all of them
        raise ValueError(f"its metadata.json says {count!r:.20} episodes, in files of {size} bytes")
    if not all(key in metadata for key in _SPACES):  # Minari makes the environment and asks it
        _check_spec(source, metadata.get("env_spec"))
    return metadata


def _check_spec(source: str, text: Any) -> None:
    """Refuses an environment that gymnasium does not know.

    Args:
      source: what error messages begin with.
      text: the specification that a dataset holds, a text in JSON.
    """
    import gymnasium

    with contextlib.suppress(ImportError):
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
    try:
        spec = parse_json(text)
        path, name = spec["entry_point"], spec["id"]
        wrappers = [wrapper["entry_point"] for wrapper in spec.get("additional_wrappers") or ()]
        known = getattr(gymnasium.registry.get(name), "entry_point", None)
        trusted = path == known and all(each.startswith(_WRAPPERS) for each in wrappers)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source}: its metadata name no environment that can be understood "
            f"({one_line(error)[:60]}); give one as --config.env_id (none: only train)"
        ) from error
    if not trusted:
        raise InputError(
            f"{source}: gymnasium knows no {str(name)[:40]!r} that is {str(path)[:60]!r}, which "
            "the dataset names, and code that data name is not run; where you trust it, give "
            "--config.env_id=MODULE:ID"
        )


def _bytes_in(folder: Any) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
