"""Training with labels, or with a teacher."""
