"""The recipe, its steps, and `imaseg prepare`, which applies them to a cohort."""
