"""HDF5 files of demonstrations as robomimic (robomimic.github.io) has them; images are left out.

    data/demo_0/obs/<key>, next_obs/<key>, actions, rewards, dones
    mask/<filter key>: names of demonstrations

`dones` mark success, the end of a demonstration, or both: the files do not say which. Where rewards
are 0 and 1, success is what pays. A demonstration that ends without it was only cut.
"""

import collections
import dataclasses
import re
from typing import Any

import numpy as np

from edp_jax.data.ends import as_flags
from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.layout import rewards_by_rule
from edp_jax.data.names import listed, natural
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.data.stacked import Stacked, check_lengths
from edp_jax.files import parse_json
from edp_jax.types import InputError

# what robomimic itself trains on where it finds it, for any number of arms
_USUAL = re.compile(r"object|robot\d+_(eef_pos|eef_quat|gripper_qpos)")
_ARM = re.compile(r"robot\d+_eef_pos")


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads the demonstrations of a file, or those that a filter key names."""
    source, layout = content.source, reading.layout
    demos, told = _demos(content, layout.filter_key)
    keys, chosen = _observation_keys(content, demos, layout.observation_keys)

    def table(*names: str) -> Stacked:
        paths = [[f"data/{demo}/{name}" for name in names] for demo in demos]
        return Stacked(source, [{path: content.array(path) for path in each} for each in paths])

    actions = table("actions")
    tables = {"actions": actions, "observations": table(*(f"obs/{key}" for key in keys))}
    inside = {name for demo in demos for name in content.names(f"data/{demo}")}
    if "next_obs" in inside:
        tables["next_observations"] = table(*(f"next_obs/{key}" for key in keys))
    is_stored = layout.reward_rule == "stored" and "rewards" in inside
    stored = (table("rewards"), table("dones")) if is_stored else ()
    check_lengths(*tables.values(), *stored)
    rewards, terminals, rule = _rewards(
        layout.reward_rule, source, actions.last, *(each.column() for each in stored)
    )
    box = np.full((2, actions.shape[1]), [[-1.0], [1.0]], np.float32)  # as robomimic demands
    raw = from_arrays(
        source,
        {"rewards": rewards, "terminals": terminals, **tables}
        | {"action_low": box[0], "action_high": box[1]},
        last=actions.last,
        storage=reading.storage,
    )
    return dataclasses.replace(
        raw,
        understood=(f"format: robomimic, {told}; {rule}", chosen),
        details=_details(content),
        observation_names=tables["observations"].columns,
        has_rewards=bool(stored) or layout.reward_rule != "stored",
    )


def _demos(content: Content, filter_key: str) -> tuple[list[str], str]:
    """The names of the demonstrations in the order of their numbers, and how many they are."""
    source, there = content.source, content.names("data")
    if not there:
        raise InputError(f"{source}: 'data' holds no demonstrations; use a file with some")
    if not any(content.names(f"data/{name}") for name in there):
        raise InputError(
            f"{source}: 'data' holds {listed(there)}, not robomimic's groups demo_0, demo_1, ... "
            "with 'actions' and 'obs'; store one row per step (docs/formats.md)"
        )
    if not filter_key:
        return sorted(there, key=natural), f"all {len(there):,} demonstrations"
    masks = content.names("mask")
    if filter_key not in masks:
        raise InputError(
            f"config.filter_key={filter_key!r}: {source} has no such mask (found: "
            f"{listed(masks) or 'none'}); name one of them, or leave it out"
        )
    named = [_text(name) for name in np.asarray(content.array(f"mask/{filter_key}")).flat]
    counts, known = collections.Counter(named), set(there)
    wrong = [name for name in named if name not in known or counts[name] > 1]
    if wrong or not named:
        what = f"names {wrong[0]!r}, which is not there or twice" if wrong else "names nothing"
        raise InputError(f"{source}: mask {filter_key!r} {what}; correct it, or use another one")
    told = f"{len(named):,} of {len(there):,} demonstrations, mask {filter_key!r}"
    return sorted(named, key=natural), told


def _observation_keys(
    content: Content, demos: list[str], wanted: tuple[str, ...]
) -> tuple[list[str], str]:
    """The keys that an observation is made of, and a line that tells of them and of the others."""
    groups = [f"data/{demo}/obs" for demo in demos]
    places = {key: group for group in groups for key in content.names(group)}
    there = sorted(places, key=natural)
    if not there:
        raise InputError(
            f"{content.source}: {groups[0]!r} holds no observations; robomimic's script "
            "dataset_states_to_obs.py adds them to recorded demonstrations"
        )
    wrong = [key for key in wanted if key not in there]
    if wrong:
        raise InputError(
            f"config.observation_keys: {wrong[0]!r} is not in an observation of {content.source} "
            f"(found: {listed(there)}); name some of these"
        )
    shapes = {key: content.array(f"{places[key]}/{key}").shape for key in there}
    vectors = [key for key in there if len(shapes[key]) in (1, 2)]
    usual = [key for key in vectors if _USUAL.fullmatch(key)]
    keys = list(wanted) or (usual if any(map(_ARM.fullmatch, usual)) else vectors)
    if not keys:
        raise InputError(
            f"{content.source}: observations hold images alone ({listed(there)}), "
            "which are not read; store vectors, such as the features of an encoder"
        )
    widths = [f"{key} [{shapes[key][1] if len(shapes[key]) > 1 else 1}]" for key in keys]
    others = [
        f"{key} (images)" if len(shapes[key]) > 2 else key for key in there if key not in keys
    ]
    left_out = f"; left out: {', '.join(others)}" if others else ""
    return keys, f"observations: {', '.join(widths)}{left_out}"


def _rewards(
    rule: str, source: str, last: np.ndarray, *stored: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Rewards [N], which steps ended the task [N] bool, and what tells so.

    Args:
      rule: see `Layout.reward_rule`.
      source: what error messages begin with.
      last: [N] bool, the last step of each demonstration.
      *stored: rewards and dones [N], where the file has them.
    """
    if rule != "stored":
        return *rewards_by_rule(rule, last), f"rewards and ends by the rule {rule}"
    if not stored:
        none = np.zeros(len(last), np.float32)
        return none, none > 0, "no rewards, demonstrations end in cuts"
    rewards, dones = stored[0], as_flags(source, "dones", stored[1])
    if np.isin(rewards, (0, 1)).all():
        told = "done steps with reward 1 (success) end the task, other ends of demonstrations are"
        return rewards, dones & (rewards == 1), f"{told} cuts"
    told = "done steps end the task: rewards are not only 0 and 1, so success is not known"
    return rewards, dones, told


def _details(content: Content) -> dict[str, Any]:
    """The arguments of the environment, which the file holds as JSON."""
    text = content.attribute("data", "env_args")
    try:
        return {} if text is None else {"env_args": parse_json(_text(text))}
    except ValueError:
        return {}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


FORMAT = Format(
    "robomimic",
    lambda names: "data" in names and "observations" not in names,
    read,
    layout=("observation_keys", "filter_key", "reward_rule"),
)
