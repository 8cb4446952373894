"""D4RL's AntMaze and Maze2d (arXiv 2004.07219), built from its rules and model parameters on the installed MuJoCo.

Sources: `d4rl/locomotion` (maze_env, ant, goal_reaching_env, assets/ant.xml) and `d4rl/pointmaze/maze_model.py`. The mazes of
gymnasium-robotics are others: an ant with half the time step and five times the torque, other origins, starts and goals.
"""

import importlib.resources
from collections.abc import Callable
from xml.etree import ElementTree

import gymnasium
import mujoco
import numpy as np

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
_STEPS = {
    "antmaze": {"umaze": 700, "medium": 1000, "large": 1000},
    "maze2d": {"umaze": 300, "medium": 600, "large": 800},
}
_ANT_SCALE = 4.0  # side of a cell; the ant starts in the middle of cell (1, 1), which is the origin
_ANT_GOAL_CELLS = {"umaze": (3, 1), "medium": (6, 6), "large": (7, 9)}
_POINT_GOAL_CELLS = {"umaze": (1, 1), "medium": (6, 6), "large": (7, 9)}
_POINT_SPEED_LIMIT = 5.0

State = tuple[np.ndarray, np.ndarray]  # qpos, qvel


class Maze(gymnasium.Env):
    """A body in a maze: every step that ends within 0.5 of `goal` [2] pays 1; observed are positions and velocities, float32.

    The model may be shared; the state is this environment's own.
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
        self.model, self.data = model, mujoco.MjData(model)
        self._draw_state, self._draw_goal = draw_state, draw_goal
        self._frame_skip, self._speed_limit, self._ends_at_goal = (
            frame_skip,
            speed_limit,
            ends_at_goal,
        )
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (model.nq + model.nv,), np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (model.nu,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.goal = self._draw_goal(self.np_random)
        self.data.qpos[:], self.data.qvel[:] = self._draw_state(self.np_random)
        mujoco.mj_forward(self.model, self.data)
        return self._observation(), {}

    def step(self, action: np.ndarray):
        np.clip(self.data.qvel, -self._speed_limit, self._speed_limit, out=self.data.qvel)
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, nstep=self._frame_skip)
        reached = bool(np.linalg.norm(self.data.qpos[:2] - self.goal) <= GOAL_RADIUS)
        return (
            self._observation(),
            float(reached),
            reached and self._ends_at_goal,
            False,
            {"success": reached},
        )

    def _observation(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel], dtype=np.float32)


def make_antmazes(size: str, version: str, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """AntMaze, O 29 (15 positions, 14 velocities), A 8: the ant starts around the origin, and an episode ends at the goal.

    As in D4RL "v2" draws the goal anew for every episode, and "v0" once for every environment; here that draw depends on the
    environment's place among the `num_envs` only.
    """
    model = ant_maze_model(size)
    corner = _ANT_SCALE * (
        np.array(_ANT_GOAL_CELLS[size][::-1]) - 1
    )  # x runs with columns, y with rows
    qpos0 = model.qpos0.copy()

    def draw_goal(rng: np.random.Generator) -> np.ndarray:
        return corner + rng.uniform(0, _ANT_SCALE / 4, 2) + rng.uniform(0, _ANT_SCALE / 8, 2)

    def draw_state(rng: np.random.Generator) -> State:
        qpos = qpos0 + rng.uniform(-0.1, 0.1, model.nq)
        qpos[3:7] /= np.linalg.norm(
            qpos[3:7]
        )  # MuJoCo 2 did so itself, so the observation of a start shows it
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
        return gymnasium.wrappers.TimeLimit(maze, _STEPS["antmaze"][size])

    return tuple(make_one(index) for index in range(num_envs))


def make_maze2ds(size: str, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Maze2d (sparse), O 4 (position, velocity), A 2: starts around any free cell; the goal is fixed and ends nothing.

    A position counts rows and columns of the layout; as in D4RL the ball is 0.2 off the middle of the cell, in both axes.
    """
    model = point_maze_model(size)
    cells = np.argwhere(np.array([list(row) for row in LAYOUTS[size]]) != "#")
    goal = np.array(_POINT_GOAL_CELLS[size], np.float64)

    def draw_state(rng: np.random.Generator) -> State:
        return cells[rng.integers(len(cells))] + rng.uniform(
            -0.1, 0.1, 2
        ), 0.1 * rng.standard_normal(2)

    def make_one() -> gymnasium.Env:
        maze = Maze(
            model,
            draw_state=draw_state,
            draw_goal=lambda rng: goal,
            frame_skip=1,
            speed_limit=_POINT_SPEED_LIMIT,
            ends_at_goal=False,
        )
        return gymnasium.wrappers.TimeLimit(maze, _STEPS["maze2d"][size])

    return tuple(make_one() for _ in range(num_envs))


def ant_maze_model(size: str) -> mujoco.MjModel:
    """Gymnasium's ant with what D4RL's has else (time step, torque, contact stiffness, capsule masses) between walls 2 high."""
    ant = importlib.resources.files("gymnasium.envs.mujoco") / "assets" / "ant.xml"
    root = ElementTree.fromstring(ant.read_text())
    root.find("option").set("timestep", "0.02")
    root.find("default/geom").attrib |= {"solref": ".02 1", "solimp": ".8 .8 .01"}
    for motor in root.iterfind("actuator/motor"):
        motor.set("gear", "30")
    half = _ANT_SCALE / 2
    for row, column in _wall_cells(size):
        wall = {
            "type": "box",
            "contype": "1",
            "conaffinity": "1",
            "size": f"{half} {half} {half / 2}",
        }
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
            <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2" conaffinity="1"/>
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
    # MuJoCo 2 took the mean over three axes, along one of which the ball cannot move; 3 takes two, and its walls are softer
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
    """Gives bodies of one capsule the mass and inertia they had up to MuJoCo 2.1.1, D4RL's: a cylinder's, longer by the radius.

    Since 2.1.2 they are the capsule's own (MuJoCo's changelog). The ant's hips are 7 %, its shins 4 % lighter by the old rule.
    """
    for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_CAPSULE):
        body, (radius, half_length) = model.geom_bodyid[geom], model.geom_size[geom, :2]
        length = 2 * half_length + radius
        mass = model.body_mass[body] * length / (2 * half_length + 4 / 3 * radius)
        across = mass * (3 * radius**2 + length**2) / 12
        model.body_mass[body] = mass
        model.body_inertia[body] = across, across, mass * radius**2 / 2
    mujoco.mj_setConst(model, mujoco.MjData(model))
