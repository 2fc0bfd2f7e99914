"""Commands that measure speed and memory and print tables, as in docs/performance.md."""
