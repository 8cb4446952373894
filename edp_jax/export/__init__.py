"""Policies outside of their runs: a folder of plain files, or one file.

policy = load_policy("runs/first")  # also a policy/ folder, an .edp and an .onnx file
action = policy(observation)
"""

from edp_jax.export.folder import PolicyFile, save_policy
from edp_jax.export.load import load_policy, write_policy
from edp_jax.export.policy import Policy
from edp_jax.export.program import Program, make_program, with_ways

__all__ = [
    "Policy",
    "PolicyFile",
    "Program",
    "load_policy",
    "make_program",
    "save_policy",
    "with_ways",
    "write_policy",
]
