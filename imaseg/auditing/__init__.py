"""`imaseg audit`: many probes over many cases of one checkpoint, written so that a killed job resumes."""

from imaseg.auditing.engine.run import AuditResult, audit
from imaseg.auditing.plan import Plan, load_plan

__all__ = ["AuditResult", "Plan", "audit", "load_plan"]
