"""Makes XLA compile programs for the CPU quickly, if less well; most of the tests' time is that."""

XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
"""The older code generator for fused operations takes a third of the time of the newer."""
