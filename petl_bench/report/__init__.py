"""Reports: a pure function of the run folders. Free of torch."""

from petl_bench.report.collect import find_suites
from petl_bench.report.write import Report, render_report

__all__ = ["Report", "find_suites", "render_report"]
