"""Tests run on the CPU, as eight devices, so that seeds are sharded where there are several; compiling fast matters more."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0")
