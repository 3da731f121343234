"""Transforms of MONAI as steps of a preparation: MONAI runs them, and what each did is recorded so that it can be undone."""
