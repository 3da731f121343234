"""Which model on which cases, one fitted to the other, and budgets in every unit."""
