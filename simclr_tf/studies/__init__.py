"""Many trainings or fits that belong together, shared by several processes."""
