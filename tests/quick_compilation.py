"""XLA flags for the tests, most of whose time is compiling: less optimisation, faster compiling."""

import importlib.metadata

XLA_FLAGS = "--xla_backend_optimization_level=0"
# Without the fusion emitters, compiling takes a third of the time; JAX 0.12 cannot do without. XLA
# would split code and compile the parts at once, which is more work, and the cores are busy anyway.
if importlib.metadata.version("jax") < "0.12":
    XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
