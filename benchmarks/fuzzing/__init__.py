"""Parts of `benchmarks/fuzz.py`: what is read, how it is damaged, and the process that reads it."""
