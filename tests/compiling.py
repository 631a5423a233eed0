"""How tests compile: quickly, since most of them wait longer for compilers than for what is compiled."""

from collections.abc import Callable

import jax

# Before JAX 0.11 the fusion emitters, which take as long again as LLVM's optimizations, can be left out too.
_HAS_EMITTER_FLAG = jax.__version_info__ < (0, 11)
QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true" + (
    " --xla_cpu_use_fusion_emitters=false" if _HAS_EMITTER_FLAG else ""
)
_AS_USERS_DO = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    **({"xla_cpu_use_fusion_emitters": True} if _HAS_EMITTER_FLAG else {}),
}


def thorough_jit(function: Callable, **arguments) -> Callable:
    """`jax.jit` for what runs for long, or is compared to the last digits."""
    options = _AS_USERS_DO if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options, **arguments)
