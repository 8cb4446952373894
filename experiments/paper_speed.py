"""The speed comparison of the EDP paper (arXiv 2305.20081, section 5), to be measured here as well.

The paper's rates are those of walker2d-medium-expert-v2 with batches of 256.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Bar(NamedTuple):
    """One bar of the comparison."""

    paper: tuple[float, float] | None  # updates/s, actions/s
    learner: str = ""  # "": not ours to run
    kind: str = "train"
    changes: tuple[tuple[str, Any], ...] = ()


_DDPM_100 = (("num_timesteps", 100), ("sampler", "ddpm"), ("sampler_calls", 100))
_EDP_SAMPLER = (
    ("num_timesteps", 1000),
    ("sampler", "dpm_solver_3"),
    ("sampler_calls", 15),
    ("num_candidates", 10),
)
NAIVE, EDP = "EDP, naive loop", "EDP"
ABLATIONS = {
    "Diffusion-QL, PyTorch": Bar((4.66, 18.67)),
    "Diffusion-QL": Bar(
        (22.30, 123.70), "diffusion_ql", changes=(*_DDPM_100, ("num_candidates", 10))
    ),
    "EDP without DPM-Solver": Bar((50.94, 123.06), "edp_td3", changes=_DDPM_100),
    "EDP without action approximation": Bar((38.4, 411.0), "diffusion_ql", changes=_EDP_SAMPLER),
    NAIVE: Bar(None, "edp_td3", kind="naive"),
    EDP: Bar((116.21, 411.79), "edp_td3"),
}


def compare_with_paper(ablations: Mapping[str, Mapping]) -> dict[str, dict[str, Any]]:
    """Adds to each bar the paper's rates and how many times faster than the naive loop it trains.

    Args:
      ablations: what was measured, per title of `ABLATIONS`: {"training": ..., "acting": ...}.
    """
    naive = ablations[NAIVE]["training"]["updates_per_second"]
    compared = {}
    for title, bar in ABLATIONS.items():
        compared[title] = entry = dict(ablations.get(title, {}))
        if entry:
            entry["ratio_to_naive"] = entry["training"]["updates_per_second"] / naive
        if bar.paper:
            entry["paper"] = {
                "updates_per_second": bar.paper[0],
                "actions_per_second": bar.paper[1],
            }
    return compared
