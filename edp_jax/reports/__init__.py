"""Many runs in one report: statistics over seeds and tasks, tables, figures and a page of HTML."""

from edp_jax.reports.report import Report, write_report

__all__ = ["Report", "write_report"]
