"""Efficient Diffusion Policies for offline reinforcement learning (EDP, arXiv 2305.20081)."""

from edp_jax.types import InputError, TaskSpec, Transition

__version__ = "0.1.0"
__all__ = ["InputError", "TaskSpec", "Transition", "load_policy"]


def __getattr__(name: str):
    if name == "load_policy":  # kept out of `import edp_jax`, which is fast
        from edp_jax.export import load_policy

        return load_policy
    raise AttributeError(f"module 'edp_jax' has no attribute {name!r}")
