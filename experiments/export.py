"""Writes a policy of a run as one file, which needs neither the run nor its dataset.

python -m experiments.export --workdir=runs/first --out=policy.edp
python -m experiments.export --workdir=runs/first --step=best --out=policy.onnx \
  --num_candidates=1 --sampler_calls=5

The end of the file's name is its format: .edp is a program for JAX, on CPU, CUDA and TPU; .onnx is
for ONNX runtimes, and is compared with JAX before it is written. How it acts is fixed in the
file. `edp_jax.load_policy` reads both.
"""

import dataclasses
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags

from edp_jax import InputError, algorithms
from edp_jax.algorithms.groups import ACTING
from edp_jax.devices import check_devices_exist
from edp_jax.export import Program, make_program, with_ways, write_policy
from edp_jax.export.folder import Stored, read_folder
from edp_jax.export.load import FORMATS
from edp_jax.export.policy import OBSERVATION
from edp_jax.export.program import EXECUTE, check_execute
from edp_jax.files import check_writable
from edp_jax.runs import Run
from edp_jax.settings import describe

from . import launch

_FORMATS = {"jax": ".edp", "onnx": ".onnx"}  # --format -> end of the name


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("out", None, f"File to write; it ends in {' or '.join(FORMATS)}.")
    flags.DEFINE_enum("format", None, list(_FORMATS), "By default, what the end of --out says.")
    flags.DEFINE_string("step", "last", "Checkpoint: last, best, or a number of updates.")
    flags.DEFINE_integer("seed", None, "Whose policy; by default the first that is sound.")
    flags.DEFINE_list("point", [], "Of a sweep, the swept settings, as in eta=0.5,tau=0.01.")
    for name in (*ACTING, EXECUTE):
        flags.DEFINE_string(name, None, f"{name} to act with; by default the run's.")


def main(_: Sequence[str]) -> None:
    values = {name: flags.FLAGS[name].value for name in flags.FLAGS}
    out, suffix = os.path.expanduser(values["out"]), _FORMATS.get(values["format"], "")
    if not out.endswith(suffix or tuple(FORMATS)):
        raise InputError(f"--out={out}: must end in {suffix or ' or '.join(FORMATS)}")
    check_writable(out)
    check_devices_exist()
    which = dict(map(_point, values["point"]))
    if values["seed"] is not None:
        which["seed"] = values["seed"]
    given = {name: values[name] for name in (*ACTING, EXECUTE) if values[name] is not None}
    workdir = os.path.abspath(os.path.expanduser(values["workdir"]))
    program, about = take_out(workdir, values["step"], which, given)
    write_policy(out, program, about)
    print(describe_file(out, program, about), flush=True)


def take_out(
    workdir: str, step: str, which: Mapping[str, float], given: Mapping[str, str]
) -> tuple[Program, dict[str, Any]]:
    """Takes a policy out of a run.

    Args:
      workdir: of the run.
      step: see `Run.find_checkpoint`.
      which: seed and swept settings of the member, or some of them.
      given: ways of acting, as text.

    Returns:
      The policy, and what its file tells about the run.

    Raises:
      InputError: there is no such run, checkpoint or member, or it cannot act in that way.
    """
    run, folder = Run(workdir), os.path.join(workdir, "policy")
    run.find_checkpoint()  # refuses what is no run, or has not begun
    stored = read_folder(folder)
    stored.described(folder, which)  # before the checkpoint is read, which takes seconds
    file = stored.file
    ways = {name: _number(name, text, file.settings) for name, text in given.items()}
    if EXECUTE in ways:
        check_execute(ways[EXECUTE], file.spec.horizon)
    acting = {name: value for name, value in ways.items() if name != EXECUTE}
    file = with_ways(file, acting)  # a starting noise is chosen for what samples
    number = run.find_checkpoint(step)
    algorithm = algorithms.make(file.algorithm, file.settings, file.spec)
    state = run.state(algorithm, number)
    params = jax.device_get(jax.vmap(algorithm.policy_params)(state))
    diverged = tuple(map(int, jax.device_get(state.diverged)))
    stored = Stored(dataclasses.replace(file, diverged=diverged), params)
    index = stored.find(folder, which)
    program = make_program(stored.file, stored.params_of(folder, index), ways)
    start, dataset = run.starts[-1], run.dataset
    return program, {
        "task": run.title.partition(" on ")[2],
        "step": number,
        "member": file.members[index],
        "commit": start.get("git_commit"),
        "versions": start.get("versions"),
        "exported_with": {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")},
        "dataset_sha256": dataset.get("sha256"),
        "observation_names": dataset.get("observation_names") or None,
        "action_names": dataset.get("action_names") or None,
    }


def describe_file(out: str, program: Program, about: Mapping[str, Any]) -> str:
    """What was written, in a few lines."""
    member = ", ".join(f"{name} {value}" for name, value in about["member"].items())
    acting = ", ".join(f"{name} {value}" for name, value in program.acting.items())
    inputs = ", ".join(
        f"{name} [{', '.join(map(str, spec.shape))}]" for name, spec in program.inputs("B").items()
    )
    lines = [
        f"{program.file.algorithm} on {about['task']} after {about['step']:,} updates, {member}",
        f"acts with: {acting or 'its mean'}",
        f"inputs: {inputs}, of which {OBSERVATION} is yours",
        f"policy, for edp_jax.load_policy: {out}, {os.path.getsize(out) / 1e3:,.0f} kB",
    ]
    return "\n".join(lines)


def _point(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise InputError(f"--point={text}: must be name=number, as in --point=eta=0.5") from error


def _number(name: str, text: str, settings: Any) -> int | float:
    """A way of acting, of the type that the setting has."""
    defaults = {entry.name: entry.default for entry in describe(type(settings))}
    kind = type(defaults.get(name, 1.0 if "." in text else 1))
    try:
        return kind(text)
    except ValueError as error:
        needed = "an integer" if kind is int else "a number"
        raise InputError(f"--{name}={text} must be {needed}, as in --{name}={kind(1)}") from error


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("workdir", "out"))
