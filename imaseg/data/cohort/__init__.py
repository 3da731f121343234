"""What is found out about the cases of a cohort: survey, statistics, flags, notes and contact sheet."""
