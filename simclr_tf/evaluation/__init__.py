"""What a trained encoder is worth: features, kNN, linear evaluation, accuracy."""
