"""Sections that say how to read all others: summary, validity, methods, limits, provenance."""
