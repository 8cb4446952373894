"""A policy as one pure function: sampler, choice, units and box, without the learner around it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import algorithms, confidence
from edp_jax.acting import Acting
from edp_jax.algorithms.groups import ACTING
from edp_jax.algorithms.own_noise import CHOOSY, CHOSEN, scale_of
from edp_jax.export.folder import PolicyFile
from edp_jax.export.policy import OBSERVATION, Interface
from edp_jax.policy import in_dataset_units
from edp_jax.settings import check, describe
from edp_jax.types import Array, InputError

EXECUTE = "execute"  # of the actions of a chunk, those to take; a way of acting like `ACTING`


class Program(NamedTuple):
    """A policy that can be called, or written as a file."""

    interface: Interface
    act: Acting  # in [-1, 1], of normalised observations
    file: PolicyFile
    params: Any  # of one member, as `act` takes them
    acting: Mapping[str, Any]  # the settings that say how it acts

    def function(self, params: Any, inputs: Mapping[str, Array]) -> Array:
        """Actions [B, A], or [B, execute, A], for inputs [B, ...]; all in the dataset's units."""
        act = in_dataset_units(self.act.run, self.file.units, self.interface.execute)
        numbers = {name: value for name, value in inputs.items() if name != OBSERVATION}
        return act(params, inputs[OBSERVATION], numbers)

    def inputs(self, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """Names and shapes of the inputs, for a batch of that (perhaps symbolic) size."""
        return {
            name: jax.ShapeDtypeStruct((batch, *shape), np.float32)
            for name, shape in self.interface.inputs.items()
        }

    def compiled(self) -> Any:
        """`function` with its parameters, compiled for each size of a batch that it meets."""
        return in_float32(jax.jit(functools.partial(self.function, self.params)))

    def judging(self) -> Any:
        """The same compiled, with what the critics say about the actions: `confidence.Judged`.

        Raises:
          InputError: the policy has no critics that could disagree.
        """
        file, execute = self.file, self.interface.execute
        critics = confidence.find_critics(file.settings, file.spec, self.params)
        judged = confidence.judged_in_dataset_units(self.act.run, critics, file.units, execute)

        def function(inputs: Mapping[str, Array]) -> confidence.Judged:
            numbers = {name: value for name, value in inputs.items() if name != OBSERVATION}
            return judged(self.params, inputs[OBSERVATION], numbers)

        return in_float32(jax.jit(function))


def in_float32(function: Callable) -> Callable:
    """A function that computes as runs do also where the process has set JAX_ENABLE_X64."""
    if jax.dtypes.canonicalize_dtype(float) == np.float32:
        return function

    def run(inputs: Mapping[str, Array]) -> Any:
        with jax.enable_x64(False):
            return function(inputs)

    return run


def make_program(file: PolicyFile, params: Any, ways: Mapping[str, Any]) -> Program:
    """Makes the program of one policy.

    Args:
      file: what the policies of its run have in common.
      params: its own.
      ways: settings of `ACTING` and `EXECUTE` that are to be other than the run's. A starting noise
        that the policy chose stays as it is. Where `edp`'s critics do not choose, one sample is
        drawn unless `num_candidates` is here.

    Raises:
      InputError: the learner has no such setting, or it cannot have the value.
    """
    ways, fixed = dict(ways), getattr(file.settings, "starting_noise", CHOSEN)
    actor = params.get("actor", {}) if isinstance(params, Mapping) else {}
    execute = ways.pop(EXECUTE, file.execute or file.spec.horizon)
    check_execute(execute, file.spec.horizon)
    file = with_ways(file, ways)
    if ways.get("starting_noise") == CHOSEN != fixed:
        raise InputError(
            f"starting_noise={CHOSEN:g}: the policy was saved with {fixed:g} and has chosen none; "
            f"give a number, or export it from its run with {CHOSEN:g}"
        )
    if "num_candidates" not in ways and not actor.get(CHOOSY, True):
        file = with_ways(file, {"num_candidates": 1})  # of several samples the first would act
    settings, spec = file.settings, file.spec
    act = algorithms.make(file.algorithm, settings, spec).act
    interface = Interface(spec.observation_dim, spec.action_dim, spec.horizon, execute, act.shapes)
    told = {name: getattr(settings, name) for name in ACTING if hasattr(settings, name)}
    if told.get("starting_noise") == CHOSEN:
        scale = scale_of(actor, told["num_candidates"] > 1)
        told["starting_noise"] = round(float(scale), 6)  # float32
    # compiled in as arrays of jax: a derivative rule, as layer_norm has, takes none of numpy
    return Program(interface, act, file, jax.tree.map(jnp.asarray, params), told)


def check_execute(execute: Any, horizon: int) -> None:
    """Refuses a number of actions that the chunks of a policy do not have.

    Raises:
      InputError: it is one.
    """
    if type(execute) is not int or not 1 <= execute <= horizon:
        several = f"{horizon} actions together; give an integer from 1 to {horizon}"
        chooses = several if horizon > 1 else "single actions; leave it out"
        raise InputError(f"{EXECUTE}={execute!r:.40}: the policy chooses {chooses}")


def with_ways(file: PolicyFile, ways: Mapping[str, Any]) -> PolicyFile:
    """The same policies with other settings of `ACTING`.

    Raises:
      InputError: the learner has no such setting, or it cannot have the value.
    """
    entries = {entry.name: entry for entry in describe(type(file.settings))}
    for name, value in ways.items():
        if name not in entries:
            raise InputError(
                f"{name}={value!r:.40}: {file.algorithm} has no such setting; leave it out"
            )
        check(entries[name], value)
        if isinstance(value, tuple | list):
            raise InputError(f"{name}={value!r:.40} must be one value; load once for each")
    return dataclasses.replace(file, settings=dataclasses.replace(file.settings, **ways))
