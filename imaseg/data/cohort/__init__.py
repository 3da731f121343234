"""Findings on the cases of a cohort: survey, statistics, flags, notes kept on disk, contact sheet."""
