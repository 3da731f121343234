"""One self-contained HTML page from audit folders on disk."""

from imaseg.report.page import write_report
from imaseg.report.read import Audit, read_audits

__all__ = ["Audit", "read_audits", "write_report"]
