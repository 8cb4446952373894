"""What the process's environment may do to the numbers of a run, and to its devices."""

import os
import sys

import jax

# options of JAX that change types, random numbers or rounding, or that end a run; by default so
# (the precision of matrix products is a choice between speed and accuracy, and is recorded)
_FIXED = {
    "jax_allow_f16_reductions": True,
    "jax_debug_infs": False,
    "jax_debug_nans": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_enable_custom_prng": False,
    "jax_enable_x64": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_legacy_prng_key": "allow",
    "jax_memory_fitting_effort": 0.0,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_optimization_level": "UNKNOWN",
    "jax_random_seed_offset": 0,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_threefry_partitionable": True,
    "jax_transfer_guard": None,
}
_RECORDED = ("JAX_DEFAULT_MATMUL_PRECISION", "NVIDIA_TF32_OVERRIDE", "XLA_FLAGS")
_WITHOUT_EFFECT = (
    "--xla_force_host_platform_device_count",
    "--xla_dump",
    "--xla_gpu_cuda_data_dir",
)


def fix_numbers() -> None:
    """Gives the options of JAX that numbers depend on the values that runs have.

    The variables of the environment that set them are told and not used. Call it before anything is
    done with JAX.
    """
    for option, value in _FIXED.items():
        variable = option.upper()
        if variable in os.environ and hasattr(jax.config, option):
            jax.config.update(option, value)
            print(
                f"{variable}={os.environ[variable]} is not used: the numbers of a run depend "
                "on its settings and seeds",
                file=sys.stderr,
            )


def numeric_environment() -> dict[str, str]:
    """The variables of the environment that change how the compiler computes, where they are set.

    Flags of XLA that numbers do not depend on are left out, and the order of the others.
    """
    values = {name: " ".join(os.environ.get(name, "").split()) for name in _RECORDED}
    flags = [flag for flag in values["XLA_FLAGS"].split() if not flag.startswith(_WITHOUT_EFFECT)]
    values["XLA_FLAGS"] = " ".join(sorted(flags))
    return {name: value for name, value in values.items() if value}


def set_precision(precision: str, platform: str | None = None) -> str:
    """Chooses how products of float32 matrices are computed. Call it before anything is compiled.

    A TPU multiplies bfloat16 numbers. By itself it rounds the inputs to them, which is not enough
    for the gradients (docs/tpu.md); three such products give nearly float32's accuracy.

    Args:
      precision: bfloat16, tensorfloat32 or float32, which on a TPU are one, three and six products;
        or auto: what JAX_DEFAULT_MATMUL_PRECISION says, else tensorfloat32 on a TPU, and elsewhere
        what JAX does by default.
      platform: where it will run; None: on the devices of this process.

    Returns:
      What was chosen; "" for JAX's default.
    """
    chosen = precision
    if precision == "auto":
        on_tpu = (platform or jax.default_backend()) == "tpu"
        given = getattr(jax.config, "jax_default_matmul_precision", None)
        chosen = given or ("tensorfloat32" if on_tpu else "")
    if chosen:
        jax.config.update("jax_default_matmul_precision", chosen)
    return chosen
