"""What people look at: progress, rows of metrics, summaries, pictures."""
