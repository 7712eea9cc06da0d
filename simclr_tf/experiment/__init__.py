"""One run, from flags to results."""
