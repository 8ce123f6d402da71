"""Reports: a pure function of the run folders. Free of torch."""

from petl_bench.report.claims import load_claims
from petl_bench.report.runs import find_suites
from petl_bench.report.write import Report, render_report
from petl_bench.report.write_claims import write_claims

__all__ = ["Report", "find_suites", "load_claims", "render_report", "write_claims"]
