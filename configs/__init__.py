"""One runnable document per recipe."""
