"""Policies outside of their runs: a folder of plain files, or one file.

policy = load_policy("runs/first")  # also a policy/ folder, an .edp and an .onnx file
action = policy(observation)
"""

from edp_jax.export.folder import PolicyFile, save_policy
from edp_jax.export.load import load_policy
from edp_jax.export.policy import Policy

__all__ = ["Policy", "PolicyFile", "load_policy", "save_policy"]
