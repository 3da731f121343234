"""Typed records of what an audit found: written by the engine, read by report, gate and `load`."""

from imaseg.results.case import CaseRecord
from imaseg.results.load import Audit, load
from imaseg.results.run import Run
from imaseg.results.schema import json_schema
from imaseg.results.summary import Summary

__all__ = ["Audit", "CaseRecord", "Run", "Summary", "json_schema", "load"]
