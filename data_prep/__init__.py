"""Everything that happens once, before training."""
