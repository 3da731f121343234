"""One self-contained HTML page from audit folders on disk."""

from imaseg.report.audits import Audit, read_audits
from imaseg.report.page import write_report

__all__ = ["Audit", "read_audits", "write_report"]
