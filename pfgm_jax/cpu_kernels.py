"""Which kernels XLA uses for convolutions on a CPU.

XLA 0.10 hands them to a library (YNNPACK) whose gradients with respect to a kernel are an order of magnitude slower
than those of Eigen, which XLA used before and still has: `python -m benchmarks.convolutions` prints both.
"""

import importlib.metadata
import os

OPTION = "xla_cpu_experimental_ynn_fusion_type"
# What the library is to compute; convolutions are not among it.
FUSIONS = "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"
# Of jaxlib, those that are known to have it: XLA ends the process over an option that it does not know.
_VERSIONS = ("0.10.0", "0.10.1", "0.10.2")


def choose() -> None:
    """Has XLA compile convolutions to Eigen's kernels from now on; an option in XLA_FLAGS goes before.

    XLA reads the variable when it compiles for the first time. The option concerns the CPU only.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    try:
        version = importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return
    if OPTION not in flags and version in _VERSIONS:
        os.environ["XLA_FLAGS"] = f"{flags} --{OPTION}={FUSIONS}".strip()
