"""Training methods of imaseg inside the training loops of other frameworks."""
