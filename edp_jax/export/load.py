"""Loading a policy, whatever it is stored as."""

import os

from edp_jax import programs
from edp_jax.export import folder
from edp_jax.export.policy import Options, Policy
from edp_jax.export.program import make_program

EDP, ONNX = ".edp", ".onnx"


def load_policy(
    path: str | os.PathLike,
    seed: int | None = None,
    *,
    num_candidates: int | None = None,
    selection_temperature: float | None = None,
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
      num_candidates, selection_temperature, sampler_calls, starting_noise: how it acts, where that
        is to be other than in the run (docs/configuration.md says what each does).
      execute: of the actions of a chunk, those that it gives.
      on_invalid: "raise", or "hold": where the observation is no valid one, or the action would be
        NaN, the last valid action comes back; `Policy.held` and `Policy.problem` tell.
      noise_seed: of the random numbers of calls without a key.
      compilation_cache: folder that keeps compiled programs, so that another process need not
        compile them; "auto" for the user's. It holds for all that JAX compiles from then on.
      **point: of a sweep, the values of the swept settings, as in `eta=0.5`.

    Raises:
      InputError: there is no policy, it is damaged, none is of that description, its training has
        diverged, or it cannot act in that way.
    """
    path, options = os.fspath(path), Options(on_invalid, noise_seed)
    options.check()
    if compilation_cache is not None:
        programs.keep_programs(compilation_cache)
    ways = {
        "num_candidates": num_candidates,
        "selection_temperature": selection_temperature,
        "sampler_calls": sampler_calls,
        "starting_noise": starting_noise,
        "execute": execute,
    }
    ways = {name: value for name, value in ways.items() if value is not None}
    which = point if seed is None else {"seed": seed, **point}
    path = _policy_folder(path)
    stored = folder.read_folder(path)
    index = stored.find(path, which)
    program = make_program(stored.file, stored.params_of(path, index), ways)
    return Policy(program.interface, program.compiled(), {}, options)


def _policy_folder(path: str) -> str:
    """The policy/ folder, where a path names a run."""
    inner = os.path.join(path, "policy")
    is_run = not os.path.isfile(os.path.join(path, "policy.json")) and os.path.isdir(inner)
    return inner if is_run else path
