"""From image files to batches of views."""
