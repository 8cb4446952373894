"""Loading a policy, whatever it is stored as, and writing it as one file."""

import contextlib
import difflib
import inspect
import os
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from edp_jax import programs
from edp_jax.devices import check_devices_exist
from edp_jax.errors import one_line
from edp_jax.export import edp_file, folder, onnx_file
from edp_jax.export.metadata import describe
from edp_jax.export.policy import Options, Policy
from edp_jax.export.program import Program, make_program
from edp_jax.types import InputError

FORMATS = {".edp": edp_file, ".onnx": onnx_file}  # by the end of a file's name


def write_policy(
    path: str | os.PathLike, program: Program, about: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Writes a policy as one file.

    Args:
      path: of the file; its end names the format, .edp or .onnx.
      program: from `make_program`.
      about: what else its metadata are to say; plain values.

    Raises:
      InputError: the file cannot be written, a package is missing, or the format cannot hold the
        policy.
    """
    path = os.fspath(path)
    _format(path).write(path, program, describe(program, about))


def load_policy(
    path: str | os.PathLike,
    seed: int | None = None,
    *,
    num_candidates: int | None = None,
    selection_temperature: float | None = None,
    sampler: str | None = None,
    sampler_calls: int | None = None,
    starting_noise: float | None = None,
    execute: int | None = None,
    on_invalid: str = "raise",
    noise_seed: int = 0,
    compilation_cache: str | None = None,
    **point: float,
) -> Policy:
    """Loads one policy.

    Args:
      path: folder of a run, its policy/ folder, or a file that `experiments.export` wrote: .edp, or
        .onnx, which needs the package onnxruntime.
      seed: whose policy; by default the first that has not diverged.
      num_candidates, selection_temperature, sampler, sampler_calls, starting_noise: how it acts,
        where that is to be other than in the run (docs/configuration.md says what each does). A
        starting noise that `edp` chose stays; `experiments.export` chooses it anew for a sampler.
      execute: of the actions of a chunk, those that it gives.
      on_invalid: "raise", or "hold": where the observation is no valid one, or the action would be
        NaN, the last valid action comes back, also one of the episode before; `Policy.held` and
        `Policy.problem` tell.
      noise_seed: of the random numbers of calls without a key.
      compilation_cache: folder that keeps compiled programs, so that another process need not
        compile them; "auto" for the user's, "none" to keep nothing. It holds for all that JAX
        compiles from then on.
      **point: of a sweep, the values of the swept settings, as in `eta=0.5`.

    Raises:
      InputError: there is no policy, it is damaged, none is of that description, its training has
        diverged, it cannot act in that way, or JAX does not find its devices.
    """
    remedy = "name the folder of a run, or a file that experiments.export wrote"
    path = _as_text(path, "policy ", remedy)
    options = Options(on_invalid, _plain(noise_seed))
    options.check()
    which = point if seed is None else {"seed": seed, **point}
    _check_numbers(which)
    if compilation_cache is not None:
        remedy = "name a folder, 'auto', or 'none'"
        cache = _as_text(compilation_cache, "compilation_cache=", remedy)
        programs.keep_programs(cache, "compilation_cache")
    ways = {
        "num_candidates": num_candidates,
        "selection_temperature": selection_temperature,
        "sampler": sampler,
        "sampler_calls": sampler_calls,
        "starting_noise": starting_noise,
        "execute": execute,
    }
    ways = {name: _plain(value) for name, value in ways.items() if value is not None}
    if os.path.isfile(path) or (path.endswith(tuple(FORMATS)) and not os.path.isdir(path)):
        form = _format(path)
        _check_nothing_set(path, [*ways, *which])
        if form is not onnx_file:  # which runs without JAX
            check_devices_exist()
        with _damage_told(path):
            interface, run, metadata = form.read(path)
        return Policy(interface, run, metadata, options)
    check_devices_exist()
    path = _policy_folder(path)
    stored = folder.read_folder(path)
    _check_swept(path, which, stored.file.members[0])
    index = stored.find(path, which)
    program = make_program(stored.file, stored.params_of(path, index), ways)
    about = {"member": stored.file.members[index]}
    run, metadata = program.compiled(), describe(program, about)
    return Policy(program.interface, run, metadata, options, make_judge=program.judging)


def _format(path: str) -> ModuleType:
    """The module that reads and writes files with such a name."""
    for suffix, form in FORMATS.items():
        if path.endswith(suffix):
            return form
    raise InputError(f"{path}: must end in {' or '.join(FORMATS)}, which names the format")


def _as_text(path: Any, title: str, remedy: str) -> str:
    """A path as text. If it is no path, the error begins with `title` and ends with `remedy`."""
    try:
        return os.fsdecode(path)
    except TypeError as error:
        raise InputError(f"{title}{path!r:.40}: no path; {remedy}") from error


def _plain(value: Any) -> Any:
    """A number of numpy as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _check_numbers(which: Mapping[str, Any]) -> None:
    """Refuses values that no seed or swept setting can have, as those of a misspelt option."""
    for name, value in which.items():
        if not isinstance(value, int | float | np.number):
            raise InputError(
                f"{name}={value!r:.40}: load_policy has no such option, and a swept setting is "
                f"given as a number; {_hint(name)}"
            )


def _check_nothing_set(path: str, given: Collection[str]) -> None:
    """Refuses what only the policies of a folder can be asked for."""
    for name in given:
        known = name in _options()
        other = "" if known else "load_policy has no such option, and the point of a sweep "
        remedy = "export it again with other values, or load the policy/ folder of its run"
        raise InputError(
            f"policy {path!r}: {name}: {other}was fixed when it was exported; "
            f"{remedy if known else _hint(name)}"
        )


def _check_swept(path: str, which: Mapping[str, Any], member: Mapping[str, Any]) -> None:
    """Refuses names that are neither options nor what the members of a run differ in."""
    for name, value in which.items():
        if name != "seed" and name not in member:
            raise InputError(
                f"{name}={value!r:.40}: load_policy has no such option, and the run of "
                f"{path!r} has not swept it; {_hint(name, member)}"
            )


def _options() -> list[str]:
    return [*inspect.signature(load_policy).parameters][1:-1]  # path and **point are none


def _hint(name: str, swept: Collection[str] = ()) -> str:
    near = difflib.get_close_matches(name, [*_options(), *swept], n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else "help(edp_jax.load_policy) lists the options"


@contextlib.contextmanager
def _damage_told(path: str) -> Iterator[None]:
    """Tells in one line why a file cannot be read in the block."""
    if not os.path.isfile(path):
        raise InputError(f"policy {path!r}: no such file; name one that experiments.export wrote")
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise InputError(
            f"policy {path!r}: damaged, or of another version ({type(error).__name__}: "
            f"{one_line(error)[:80]}); export it again"
        ) from error


def _policy_folder(path: str) -> str:
    """The folder with policy.json: the path itself, or policy/ inside of a run's folder."""
    inner = os.path.join(path, "policy")
    is_run = not os.path.isfile(os.path.join(path, "policy.json")) and os.path.isdir(inner)
    return inner if is_run else path
