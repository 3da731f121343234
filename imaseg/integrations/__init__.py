"""imaseg inside other people's training loops."""
