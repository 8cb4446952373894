"""D4RL's AntMaze and Maze2d (arXiv 2004.07219), built from its rules and model parameters.

Sources: `d4rl/locomotion` (maze_env, ant, goal_reaching_env, assets/ant.xml) and
`d4rl/pointmaze/maze_model.py`. The mazes of gymnasium-robotics are others: their ant has half the
time step and five times the torque, and origins, starts and goals differ.
"""

# pyright: reportAttributeAccessIssue=false
# (the names of mujoco are in a compiled module, which type checkers cannot see)

import importlib.resources
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import gymnasium
import mujoco
import numpy as np

from edp_jax.tasks import Environment

GOAL_RADIUS = 0.5
LAYOUTS = {  # "#" is a wall; the same for both families
    "umaze": ("#####", "#...#", "###.#", "#...#", "#####"),
    "medium": (
        "########",
        "#..##..#",
        "#..#...#",
        "##...###",
        "#..#...#",
        "#.#..#.#",
        "#...#..#",
        "########",
    ),
    "large": (
        "############",
        "#....#.....#",
        "#.##.#.#.#.#",
        "#......#...#",
        "#.####.###.#",
        "#..#.#.....#",
        "##.#.#.#.###",
        "#..#...#...#",
        "############",
    ),
}
_ANT_SCALE = 4.0  # side of a cell; the ant starts in the middle of cell (1, 1), which is the origin
_ANT_GOAL_CELLS = {"umaze": (3, 1), "medium": (6, 6), "large": (7, 9)}
_POINT_GOAL_CELLS = {"umaze": (1, 1), "medium": (6, 6), "large": (7, 9)}
_POINT_SPEED_LIMIT = 5.0

State = tuple[np.ndarray, np.ndarray]  # qpos, qvel


class Maze(gymnasium.Env):
    """A body in a maze, which is paid 1 for every step that ends within 0.5 of the goal.

    Observations are positions and velocities, float32.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        *,
        draw_state: Callable[[np.random.Generator], State],
        draw_goal: Callable[[np.random.Generator], np.ndarray],
        frame_skip: int,
        speed_limit: float,
        ends_at_goal: bool,
    ):
        """Makes an environment around a compiled model, which several may share.

        Args:
          model: the body and the walls.
          draw_state: draws positions and velocities of a start.
          draw_goal: draws the goal [2] of an episode.
          frame_skip: steps of the simulator in one step of the environment.
          speed_limit: of each velocity.
          ends_at_goal: whether the episode ends when the goal is reached.
        """
        self.model, self.data = model, mujoco.MjData(model)
        self._draw_state, self._draw_goal = draw_state, draw_goal
        self._frame_skip, self._speed_limit = frame_skip, speed_limit
        self._ends_at_goal = ends_at_goal
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (model.nq + model.nv,), np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (model.nu,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.goal = self._draw_goal(self.np_random)
        self.data.qpos[:], self.data.qvel[:] = self._draw_state(self.np_random)
        mujoco.mj_forward(self.model, self.data)
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        np.clip(self.data.qvel, -self._speed_limit, self._speed_limit, out=self.data.qvel)
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, nstep=self._frame_skip)
        reached = bool(np.linalg.norm(self.data.qpos[:2] - self.goal) <= GOAL_RADIUS)
        ended, info = reached and self._ends_at_goal, {"success": reached}
        return self._observation(), float(reached), ended, False, info

    def _observation(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel], dtype=np.float32)


def make_antmazes(environment: Environment, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Makes AntMaze: O 29 (15 positions, 14 velocities), A 8.

    The ant starts around the origin, and an episode ends at the goal. As in D4RL, version v2 draws
    the goal anew for every episode, and v0 once for every environment. In v0 the goal of the n-th
    environment is always the same.
    """
    size, version = environment.variant
    model = ant_maze_model(size)
    # x runs with the columns, y with the rows
    corner = _ANT_SCALE * (np.array(_ANT_GOAL_CELLS[size][::-1]) - 1)
    qpos0 = model.qpos0.copy()

    def draw_goal(rng: np.random.Generator) -> np.ndarray:
        return corner + rng.uniform(0, _ANT_SCALE / 4, 2) + rng.uniform(0, _ANT_SCALE / 8, 2)

    def draw_state(rng: np.random.Generator) -> State:
        qpos = qpos0 + rng.uniform(-0.1, 0.1, model.nq)
        qpos[3:7] /= np.linalg.norm(qpos[3:7])  # in the observation, as MuJoCo 2 showed it
        return qpos, 0.1 * rng.standard_normal(model.nv)

    def make_one(index: int) -> gymnasium.Env:
        own_goal = draw_goal(np.random.default_rng(index))
        maze = Maze(
            model,
            draw_state=draw_state,
            draw_goal=draw_goal if version == "v2" else lambda rng: own_goal,
            frame_skip=5,
            speed_limit=np.inf,
            ends_at_goal=True,
        )
        return gymnasium.wrappers.TimeLimit(maze, environment.max_episode_steps)

    return tuple(make_one(index) for index in range(num_envs))


def make_maze2ds(environment: Environment, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Makes the sparse Maze2d: O 4 (position, velocity), A 2.

    The ball starts around any free cell. The goal is always the same, and reaching it ends nothing.
    A position counts the rows and columns of the layout; as in D4RL the ball is 0.2 off the middle
    of a cell, in both axes.
    """
    (size,) = environment.variant
    model = point_maze_model(size)
    cells = np.argwhere(np.array([list(row) for row in LAYOUTS[size]]) != "#")
    goal = np.array(_POINT_GOAL_CELLS[size], np.float64)

    def draw_state(rng: np.random.Generator) -> State:
        position = cells[rng.integers(len(cells))] + rng.uniform(-0.1, 0.1, 2)
        return position, 0.1 * rng.standard_normal(2)

    def make_one() -> gymnasium.Env:
        maze = Maze(
            model,
            draw_state=draw_state,
            draw_goal=lambda rng: goal,
            frame_skip=1,
            speed_limit=_POINT_SPEED_LIMIT,
            ends_at_goal=False,
        )
        return gymnasium.wrappers.TimeLimit(maze, environment.max_episode_steps)

    return tuple(make_one() for _ in range(num_envs))


def ant_maze_model(size: str) -> mujoco.MjModel:
    """The ant of D4RL between walls 2 high.

    It is gymnasium's, with another time step, torque, contact stiffness and mass of its capsules.
    """
    ant = importlib.resources.files("gymnasium.envs.mujoco") / "assets" / "ant.xml"
    root: Any = ElementTree.fromstring(ant.read_text())
    root.find("option").set("timestep", "0.02")
    root.find("default/geom").attrib |= {"solref": ".02 1", "solimp": ".8 .8 .01"}
    for motor in root.iterfind("actuator/motor"):
        motor.set("gear", "30")
    half = _ANT_SCALE / 2
    for row, column in _wall_cells(size):
        wall = {"type": "box", "contype": "1", "conaffinity": "1"}
        wall["size"] = f"{half} {half} {half / 2}"
        wall["pos"] = f"{(column - 1) * _ANT_SCALE} {(row - 1) * _ANT_SCALE} {half / 2}"
        ElementTree.SubElement(root.find("worldbody"), "geom", wall)
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    use_old_capsules(model)
    return model


def point_maze_model(size: str) -> mujoco.MjModel:
    """A ball of radius 0.1 pushed along two axes, without gravity, between boxes of side 1."""
    walls = "".join(
        f'<geom type="box" size=".5 .5 .2" pos="{row + 1} {column + 1} 0"/>'
        for row, column in _wall_cells(size)
    )
    model = mujoco.MjModel.from_xml_string(f"""
        <mujoco>
          <option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
          <default>
            <joint type="slide" damping="1"/>
            <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2"
                  conaffinity="1"/>
            <motor gear="100" ctrlrange="-1 1" ctrllimited="true"/>
          </default>
          <worldbody>
            <geom type="plane" size="40 40 .25" pos="0 0 -.1" contype="1" conaffinity="0"/>
            <body pos="1.2 1.2 0">
              <joint name="x" axis="1 0 0"/>
              <joint name="y" axis="0 1 0"/>
              <geom type="sphere" size="0.1" contype="1"/>
            </body>
            {walls}
          </worldbody>
          <actuator><motor joint="x"/><motor joint="y"/></actuator>
        </mujoco>""")
    # MuJoCo 2 took the mean over three axes, one of which the ball cannot move along. MuJoCo 3
    # takes the mean over two, which makes its walls softer.
    model.body_invweight0[1, 0] = 2 / 3 / model.body_mass[1]
    return model


def _wall_cells(size: str) -> list[tuple[int, int]]:
    return [
        (row, column)
        for row, line in enumerate(LAYOUTS[size])
        for column, cell in enumerate(line)
        if cell == "#"
    ]


def use_old_capsules(model: mujoco.MjModel) -> None:
    """Gives bodies of one capsule the mass and inertia that they had in D4RL, on MuJoCo 2.1.

    They were those of a cylinder that is longer by the radius; since MuJoCo 2.1.2 they are the
    capsule's own. By the old rule the hips of the ant are 7 % lighter, and its shins 4 %.
    """
    for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_CAPSULE):
        body, (radius, half_length) = model.geom_bodyid[geom], model.geom_size[geom, :2]
        length = 2 * half_length + radius
        mass = model.body_mass[body] * length / (2 * half_length + 4 / 3 * radius)
        across = mass * (3 * radius**2 + length**2) / 12
        model.body_mass[body] = mass
        model.body_inertia[body] = across, across, mass * radius**2 / 2
    mujoco.mj_setConst(model, mujoco.MjData(model))
