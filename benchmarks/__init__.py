"""One script per claim about cost; docs/ holds their output."""
