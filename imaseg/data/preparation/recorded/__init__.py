"""Transforms of MONAI as steps of a preparation: MONAI runs them, what each did is recorded and can be undone."""
