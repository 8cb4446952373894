"""The tasks and environments known by name: the only place for their facts.

Data files, episode lengths and reference scores are those of D4RL (arXiv 2004.07219).
"""

import dataclasses
from collections.abc import Iterator

Scores = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Environment:
    """A simulator that policies are evaluated in."""

    name: str
    domain: str  # its family; `edp_jax.evaluation.envs` says what makes the simulators of each
    max_episode_steps: int
    reference_scores: Scores  # returns that count as 0 and 100
    variant: tuple[str, ...]  # which of its family: a gymnasium id, a size of a maze, ...


@dataclasses.dataclass(frozen=True)
class Task:
    """A dataset, and the environment that policies trained on it are evaluated in."""

    name: str
    domain: str  # that of the environment; "minari", "legacy" or "custom" where it is not known
    reader: str  # name of the entry of `edp_jax.data.READERS` that reads the dataset
    environment: str | None = None  # name of an `EnvSpec`; None: the task is only trained on
    file_name: str | None = None  # the path of a user's file, or of D4RL's below the data folder
    max_episode_steps: int | None = None
    reference_scores: Scores | None = None  # returns that count as 0 and 100

    @property
    def stored_returns_compare(self) -> bool:
        """Whether a stored episode's return is what evaluation would pay for it.

        The files of kitchen, for one, store another reward than the environment pays.
        """
        return self.domain in ("locomotion", "minari", "custom")

    @property
    def stored_rewards_add_up(self) -> bool:
        """Whether a stored reward is the sum of what evaluation has paid up to that step."""
        return self.domain == "kitchen"


def _environments() -> Iterator[Environment]:
    for name, env_id, scores in (
        ("hopper", "Hopper-v4", (-20.272305, 3234.3)),
        ("halfcheetah", "HalfCheetah-v4", (-280.178953, 12135.0)),
        ("walker2d", "Walker2d-v4", (1.629008, 4592.3)),
    ):
        yield Environment(name, "locomotion", 1000, scores, (env_id,))
    for kind, elements in (  # what the robot has to move
        ("complete", ("microwave", "kettle", "light switch", "slide cabinet")),
        ("partial", ("microwave", "kettle", "light switch", "slide cabinet")),
        ("mixed", ("microwave", "kettle", "bottom burner", "light switch")),
    ):
        yield Environment(f"kitchen-{kind}", "kitchen", 280, (0.0, 4.0), elements)
    for name, env_id, steps, scores in (
        ("pen", "AdroitHandPen-v1", 100, (96.262799, 3076.8331017826877)),
        ("hammer", "AdroitHandHammer-v1", 200, (-274.856578, 12794.134825156867)),
        ("door", "AdroitHandDoor-v1", 200, (-56.512833, 2880.5693087298737)),
        ("relocate", "AdroitHandRelocate-v1", 200, (-6.425911, 4233.877797728884)),
    ):
        yield Environment(name, "adroit", steps, scores, (env_id,))
    for version in ("v0", "v2"):
        for size, steps in (("umaze", 700), ("medium", 1000), ("large", 1000)):
            name = f"antmaze-{size}-{version}"
            yield Environment(name, "antmaze", steps, (0.0, 1.0), (size, version))
    for size, steps, scores in (
        ("umaze", 300, (23.85, 161.86)),
        ("medium", 600, (13.13, 277.39)),
        ("large", 800, (6.7, 273.99)),
    ):
        yield Environment(f"maze2d-{size}", "maze2d", steps, scores, (size,))


ENVIRONMENTS = {environment.name: environment for environment in _environments()}

ROBOTS = ("hopper", "halfcheetah", "walker2d")
BUILTIN_QUALITIES = ("medium", "medium-replay", "medium-expert", "expert", "random")
_MULTISTART = "multistart_True_multigoal_"
_ANTMAZES = (  # name, size, what D4RL's file says of the maze and of starts and goals
    ("umaze", "umaze", "u-maze_noisy_multistart_False_multigoal_False"),
    ("umaze-diverse", "umaze", f"u-maze_noisy_{_MULTISTART}True"),
    ("medium-play", "medium", f"big-maze_noisy_{_MULTISTART}False"),
    ("medium-diverse", "medium", f"big-maze_noisy_{_MULTISTART}True"),
    ("large-play", "large", f"hardest-maze_noisy_{_MULTISTART}False"),
    ("large-diverse", "large", f"hardest-maze_noisy_{_MULTISTART}True"),
)
_KITCHENS = {
    "complete": "mini_kitchen_microwave_kettle_light_slider-v0",
    "partial": "kitchen_microwave_kettle_light_slider-v0",
    "mixed": "kitchen_microwave_kettle_bottomburner_light-v0",
}


def _datasets() -> Iterator[tuple[str, str, str | None]]:
    """Name, environment and D4RL's file (None: the dataset is built in) of each task."""
    for robot in ROBOTS:
        for quality in BUILTIN_QUALITIES:
            yield f"builtin/{robot}-{quality}", robot, None
    for quality in ("medium", "medium-replay", "medium-expert"):
        for robot in ("halfcheetah", "hopper", "walker2d"):
            file = f"gym_mujoco_v2/{robot}_{quality.replace('-', '_')}-v2"
            yield f"{robot}-{quality}-v2", robot, file
    for version, start, end in (
        ("v0", "ant_maze_new/Ant_maze", "sparse"),
        ("v2", "ant_maze_v2/Ant_maze", "sparse_fixed"),
    ):
        for name, size, middle in _ANTMAZES:
            environment, file = f"antmaze-{size}-{version}", f"{start}_{middle}_{end}"
            yield f"antmaze-{name}-{version}", environment, file
    hands = ("pen", "hammer", "door", "relocate")
    for hand in hands:
        yield f"{hand}-human-v0", hand, f"hand_dapg/{hand}-v0_demos_clipped"
    for quality in ("human", "cloned", "expert"):
        for hand in hands:
            yield f"{hand}-{quality}-v1", hand, f"hand_dapg_v1/{hand}-{quality}-v1"
    for kind, file in _KITCHENS.items():
        yield f"kitchen-{kind}-v0", f"kitchen-{kind}", f"kitchen/{file}"
    for size in ("umaze", "medium", "large"):
        yield f"maze2d-{size}-v1", f"maze2d-{size}", f"maze2d/maze2d-{size}-sparse-v1"


def _task(name: str, environment: Environment, file: str | None) -> Task:
    return Task(
        name,
        environment.domain,
        "builtin" if file is None else "d4rl",
        environment.name,
        None if file is None else f"{file}.hdf5",
        environment.max_episode_steps,
        environment.reference_scores,
    )


TASKS = {name: _task(name, ENVIRONMENTS[env], file) for name, env, file in _datasets()}
