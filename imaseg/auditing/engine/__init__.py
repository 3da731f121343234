"""Runs a plan over cases: resume, locks, several processes, cost announced, memory shortage, identity of a folder."""
