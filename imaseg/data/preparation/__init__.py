"""The recipe, its steps, and `imaseg prepare`, which takes a whole cohort through them."""
