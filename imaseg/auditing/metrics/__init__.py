"""Scores of one prediction, and figures made from them over cases; one file per family."""
