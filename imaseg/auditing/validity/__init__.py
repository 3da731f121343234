"""Checks on the attacks themselves, and the gate of a pipeline."""
