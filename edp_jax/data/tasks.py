"""The tasks known by name: domain, data file, episode length and reference scores (the table of D4RL, arXiv 2004.07219)."""

import dataclasses
import difflib
import os
import re

from edp_jax.data import builtin
from edp_jax.data.minari import check_id
from edp_jax.types import InputError

BUILTIN, MINARI, LEGACY = (
    "builtin/",
    "minari:",
    "legacy:",
)  # what names of tasks begin with whose data is not D4RL's file
_LEGACY_NAME = re.compile(r"[-\w]+-v\d+", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Task:
    """One task; `reference_scores` are the returns (minimum, maximum) that count as 0 and 100."""

    name: str
    domain: str  # "locomotion", "antmaze", "adroit", "kitchen", "maze2d"; "minari", "legacy", or "custom" (a user's file)
    environment: str | None  # name of an EnvSpec; None: the task is trained on but not evaluated
    file_name: (
        str | None
    )  # below the data folder, D4RL's own name; a custom file's own path; None where it is no such file
    max_episode_steps: int | None
    reference_scores: tuple[float, float] | None

    @property
    def stored_returns_compare(self) -> bool:
        """Whether a stored episode's return is what evaluation would pay for it; kitchen, say, stores another reward."""
        return self.domain in ("locomotion", "minari", "custom")


_HALFCHEETAH = (-280.178953, 12135.0)
_HOPPER = (-20.272305, 3234.3)
_WALKER2D = (1.629008, 4592.3)
_ANTMAZE = (0.0, 1.0)
_KITCHEN = (0.0, 4.0)
_PEN = (96.262799, 3076.8331017826877)
_HAMMER = (-274.856578, 12794.134825156867)
_DOOR = (-56.512833, 2880.5693087298737)
_RELOCATE = (-6.425911, 4233.877797728884)

_MUJOCO = "gym_mujoco_v2/"
_ANT = "ant_maze_v2/Ant_maze_"
_ANT_V0 = "ant_maze_new/Ant_maze_"
_FIRST = "_noisy_multistart_False_multigoal_False_sparse"
_PLAY = "_noisy_multistart_True_multigoal_False_sparse"
_DIVERSE = "_noisy_multistart_True_multigoal_True_sparse"

_TABLE = (
    *(
        Task(f"{BUILTIN}{name}", "locomotion", robot, None, 1000, scores)
        for robot, scores in (
            ("hopper", _HOPPER),
            ("halfcheetah", _HALFCHEETAH),
            ("walker2d", _WALKER2D),
        )
        for name in builtin.DATASETS
        if name.startswith(robot)
    ),
    Task(
        "halfcheetah-medium-v2",
        "locomotion",
        "halfcheetah",
        _MUJOCO + "halfcheetah_medium-v2.hdf5",
        1000,
        _HALFCHEETAH,
    ),
    Task(
        "hopper-medium-v2", "locomotion", "hopper", _MUJOCO + "hopper_medium-v2.hdf5", 1000, _HOPPER
    ),
    Task(
        "walker2d-medium-v2",
        "locomotion",
        "walker2d",
        _MUJOCO + "walker2d_medium-v2.hdf5",
        1000,
        _WALKER2D,
    ),
    Task(
        "halfcheetah-medium-replay-v2",
        "locomotion",
        "halfcheetah",
        _MUJOCO + "halfcheetah_medium_replay-v2.hdf5",
        1000,
        _HALFCHEETAH,
    ),
    Task(
        "hopper-medium-replay-v2",
        "locomotion",
        "hopper",
        _MUJOCO + "hopper_medium_replay-v2.hdf5",
        1000,
        _HOPPER,
    ),
    Task(
        "walker2d-medium-replay-v2",
        "locomotion",
        "walker2d",
        _MUJOCO + "walker2d_medium_replay-v2.hdf5",
        1000,
        _WALKER2D,
    ),
    Task(
        "halfcheetah-medium-expert-v2",
        "locomotion",
        "halfcheetah",
        _MUJOCO + "halfcheetah_medium_expert-v2.hdf5",
        1000,
        _HALFCHEETAH,
    ),
    Task(
        "hopper-medium-expert-v2",
        "locomotion",
        "hopper",
        _MUJOCO + "hopper_medium_expert-v2.hdf5",
        1000,
        _HOPPER,
    ),
    Task(
        "walker2d-medium-expert-v2",
        "locomotion",
        "walker2d",
        _MUJOCO + "walker2d_medium_expert-v2.hdf5",
        1000,
        _WALKER2D,
    ),
    Task(
        "antmaze-umaze-v0",
        "antmaze",
        "antmaze-umaze-v0",
        _ANT_V0 + "u-maze" + _FIRST + ".hdf5",
        700,
        _ANTMAZE,
    ),
    Task(
        "antmaze-umaze-diverse-v0",
        "antmaze",
        "antmaze-umaze-v0",
        _ANT_V0 + "u-maze" + _DIVERSE + ".hdf5",
        700,
        _ANTMAZE,
    ),
    Task(
        "antmaze-medium-play-v0",
        "antmaze",
        "antmaze-medium-v0",
        _ANT_V0 + "big-maze" + _PLAY + ".hdf5",
        1000,
        _ANTMAZE,
    ),
    Task(
        "antmaze-medium-diverse-v0",
        "antmaze",
        "antmaze-medium-v0",
        _ANT_V0 + "big-maze" + _DIVERSE + ".hdf5",
        1000,
        _ANTMAZE,
    ),
    Task(
        "antmaze-large-play-v0",
        "antmaze",
        "antmaze-large-v0",
        _ANT_V0 + "hardest-maze" + _PLAY + ".hdf5",
        1000,
        _ANTMAZE,
    ),
    Task(
        "antmaze-large-diverse-v0",
        "antmaze",
        "antmaze-large-v0",
        _ANT_V0 + "hardest-maze" + _DIVERSE + ".hdf5",
        1000,
        _ANTMAZE,
    ),
    Task(
        "antmaze-umaze-v2",
        "antmaze",
        "antmaze-umaze-v2",
        _ANT + "u-maze" + _FIRST + "_fixed.hdf5",
        700,
        _ANTMAZE,
    ),
    Task(
        "antmaze-umaze-diverse-v2",
        "antmaze",
        "antmaze-umaze-v2",
        _ANT + "u-maze" + _DIVERSE + "_fixed.hdf5",
        700,
        _ANTMAZE,
    ),
    Task(
        "antmaze-medium-play-v2",
        "antmaze",
        "antmaze-medium-v2",
        _ANT + "big-maze" + _PLAY + "_fixed.hdf5",
        1000,
        _ANTMAZE,
    ),
    Task(
        "antmaze-medium-diverse-v2",
        "antmaze",
        "antmaze-medium-v2",
        _ANT + "big-maze" + _DIVERSE + "_fixed.hdf5",
        1000,
        _ANTMAZE,
    ),
    Task(
        "antmaze-large-play-v2",
        "antmaze",
        "antmaze-large-v2",
        _ANT + "hardest-maze" + _PLAY + "_fixed.hdf5",
        1000,
        _ANTMAZE,
    ),
    Task(
        "antmaze-large-diverse-v2",
        "antmaze",
        "antmaze-large-v2",
        _ANT + "hardest-maze" + _DIVERSE + "_fixed.hdf5",
        1000,
        _ANTMAZE,
    ),
    Task("pen-human-v0", "adroit", "pen", "hand_dapg/pen-v0_demos_clipped.hdf5", 100, _PEN),
    Task(
        "hammer-human-v0",
        "adroit",
        "hammer",
        "hand_dapg/hammer-v0_demos_clipped.hdf5",
        200,
        _HAMMER,
    ),
    Task("door-human-v0", "adroit", "door", "hand_dapg/door-v0_demos_clipped.hdf5", 200, _DOOR),
    Task(
        "relocate-human-v0",
        "adroit",
        "relocate",
        "hand_dapg/relocate-v0_demos_clipped.hdf5",
        200,
        _RELOCATE,
    ),
    Task("pen-human-v1", "adroit", "pen", "hand_dapg_v1/pen-human-v1.hdf5", 100, _PEN),
    Task("hammer-human-v1", "adroit", "hammer", "hand_dapg_v1/hammer-human-v1.hdf5", 200, _HAMMER),
    Task("door-human-v1", "adroit", "door", "hand_dapg_v1/door-human-v1.hdf5", 200, _DOOR),
    Task(
        "relocate-human-v1",
        "adroit",
        "relocate",
        "hand_dapg_v1/relocate-human-v1.hdf5",
        200,
        _RELOCATE,
    ),
    Task("pen-cloned-v1", "adroit", "pen", "hand_dapg_v1/pen-cloned-v1.hdf5", 100, _PEN),
    Task(
        "hammer-cloned-v1", "adroit", "hammer", "hand_dapg_v1/hammer-cloned-v1.hdf5", 200, _HAMMER
    ),
    Task("door-cloned-v1", "adroit", "door", "hand_dapg_v1/door-cloned-v1.hdf5", 200, _DOOR),
    Task(
        "relocate-cloned-v1",
        "adroit",
        "relocate",
        "hand_dapg_v1/relocate-cloned-v1.hdf5",
        200,
        _RELOCATE,
    ),
    Task("pen-expert-v1", "adroit", "pen", "hand_dapg_v1/pen-expert-v1.hdf5", 100, _PEN),
    Task(
        "hammer-expert-v1", "adroit", "hammer", "hand_dapg_v1/hammer-expert-v1.hdf5", 200, _HAMMER
    ),
    Task("door-expert-v1", "adroit", "door", "hand_dapg_v1/door-expert-v1.hdf5", 200, _DOOR),
    Task(
        "relocate-expert-v1",
        "adroit",
        "relocate",
        "hand_dapg_v1/relocate-expert-v1.hdf5",
        200,
        _RELOCATE,
    ),
    Task(
        "kitchen-complete-v0",
        "kitchen",
        "kitchen-complete",
        "kitchen/mini_kitchen_microwave_kettle_light_slider-v0.hdf5",
        280,
        _KITCHEN,
    ),
    Task(
        "kitchen-partial-v0",
        "kitchen",
        "kitchen-partial",
        "kitchen/kitchen_microwave_kettle_light_slider-v0.hdf5",
        280,
        _KITCHEN,
    ),
    Task(
        "kitchen-mixed-v0",
        "kitchen",
        "kitchen-mixed",
        "kitchen/kitchen_microwave_kettle_bottomburner_light-v0.hdf5",
        280,
        _KITCHEN,
    ),
    Task(
        "maze2d-umaze-v1",
        "maze2d",
        "maze2d-umaze",
        "maze2d/maze2d-umaze-sparse-v1.hdf5",
        300,
        (23.85, 161.86),
    ),
    Task(
        "maze2d-medium-v1",
        "maze2d",
        "maze2d-medium",
        "maze2d/maze2d-medium-sparse-v1.hdf5",
        600,
        (13.13, 277.39),
    ),
    Task(
        "maze2d-large-v1",
        "maze2d",
        "maze2d-large",
        "maze2d/maze2d-large-sparse-v1.hdf5",
        800,
        (6.7, 273.99),
    ),
)
_TASKS = {task.name: task for task in _TABLE}


def list_tasks() -> list[str]:
    """Returns the names of all known tasks, built-in ones first."""
    return list(_TASKS)


def find_task(name: str) -> Task:
    """Returns the task called `name`: one of the table, `minari:<dataset id>`, `legacy:<name>`, or a path to .hdf5 or .npz.

    Raises:
      InputError: no task has that name; the message lists the nearest ones.
    """
    if name in _TASKS:
        return _TASKS[name]
    if name.startswith(MINARI):
        check_id(name.removeprefix(MINARI))
        return Task(name, "minari", name, None, None, None)
    if name.startswith(LEGACY):
        plain = name.removeprefix(LEGACY)
        if not _LEGACY_NAME.fullmatch(plain):
            raise InputError(
                f"task {name!r}: no name of a D4RL environment; write for example legacy:hopper-medium-v2"
            )
        known = _TASKS.get(plain, Task(name, "legacy", None, None, None, None))
        return dataclasses.replace(known, name=name, environment=name, file_name=None)
    if name.endswith((".hdf5", ".npz")):
        return Task(name, "custom", None, os.path.expanduser(name), None, None)
    near = difflib.get_close_matches(name, _TASKS, n=3, cutoff=0.5) or list(_TASKS)[:3]
    raise InputError(
        f"task {name!r}: no such task; use {', '.join(near)}, another D4RL name, minari:<dataset id>, legacy:<D4RL name>, or the "
        "path of an .hdf5 or .npz file"
    )
