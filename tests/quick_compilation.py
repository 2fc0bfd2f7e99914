"""XLA flags for the tests, most of whose time is compiling: less optimisation, faster compiling."""

XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
"""Without the fusion emitters, compiling takes a third of the time."""
