"""`claims.md`: the verdicts of several suites on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from petl_bench.report.claim_text import HOW, NOT_ENOUGH, claims_csv, claims_markdown, missing_lines
from petl_bench.report.claims import Claims
from petl_bench.report.judge import Judged
from petl_bench.report.prose import bullets, prose
from petl_bench.results import write_atomic


def claims_section(judged: Sequence[Judged]) -> str:
    """The section of one suite's page; empty where the suite has nothing to judge."""
    if not judged:
        return ""
    parts = ["## Claims\n", claims_markdown(judged), prose(HOW), _missing(judged)]
    return "\n".join(part for part in parts if part)


def write_claims(out: Path, claims: Claims, judged: Sequence[Judged]) -> list[Path]:
    """`out/claims.md` and `out/claims.csv`: each finding with the verdicts of all suites. Returns the files."""
    parts = [
        "# Claims\n",
        prose(
            "The findings of the paper, judged on every suite, data set and backbone that has the runs; each verdict "
            "comes from within one suite. " + HOW
        ),
    ]
    findings = dict.fromkeys(claim.finding for claim in claims.claims)
    for finding in findings:
        mine = [j for j in judged if j.claim.finding == finding]
        heading = claims.findings.get(finding, "") if finding is not None else ""
        parts.append(f"## {finding}. {heading}\n" if heading else f"## Finding {finding or ''}\n")
        order = {claim.id: i for i, claim in enumerate(claims.claims)}
        mine.sort(key=lambda j: order[j.claim.id])
        parts.append(claims_markdown([j for j in mine if j.verdict != NOT_ENOUGH], with_suite=True))
        decided = {j.claim.id for j in mine if j.verdict != NOT_ENOUGH}
        parts.append(_missing([j for j in mine if j.claim.id not in decided]))
        silent = [
            c.id for c in claims.claims if c.finding == finding and c.id not in {j.claim.id for j in mine}
        ]
        if silent:
            parts.append(bullets([f"no runs at all: {', '.join(silent)}"]))
    write_atomic(out / "claims.md", "\n".join(part for part in parts if part))
    write_atomic(out / "claims.csv", claims_csv(judged))
    return [out / "claims.md", out / "claims.csv"]


def _missing(judged: Sequence[Judged]) -> str:
    """Lines of what is missing, by where; claims that lack the same share a line."""
    places = dict.fromkeys((j.suite, j.dataset, j.backbone) for j in judged)
    return bullets(
        [
            f"{NOT_ENOUGH}, {suite}, {dataset} ({backbone}): {line}"
            for suite, dataset, backbone in places
            for line in missing_lines(
                [j for j in judged if (j.suite, j.dataset, j.backbone) == (suite, dataset, backbone)]
            )
        ]
    )
