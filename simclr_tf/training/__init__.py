"""What surrounds a training step: its plan, what recurs between steps, rows of metrics."""
