"""Verdicts: each claim on each data set and backbone of a suite. See the head of `configs/claims.yaml`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from petl_bench.report.claim_rows import count_of, select
from petl_bench.report.claims import COSTS, Claim, Claims, Rows
from petl_bench.report.collect import Comparison, Row
from petl_bench.report.conditions import machine
from petl_bench.report.intervals import CONFIDENCE, Interval
from petl_bench.report.paired import ALIKE, Paired, paired, single
from petl_bench.report.runs import Run

Verdict = Literal["supported", "not supported", "undecided", "not enough runs"]
NO_RUN = "no finished run of "
LEAST_AMONG = 3  # rows that a claim about a range needs


@dataclass(frozen=True)
class Contrast:
    """One comparison of a claim.

    Attributes:
        name: what is compared: `st_adapter - full`.
        numbers: seed -> difference, ratio or value.
        labels: the rows behind it.
        verdict: of this comparison alone, without correction.
    """

    name: str
    numbers: Paired
    labels: tuple[str, ...]
    verdict: Verdict

    @property
    def interval(self) -> Interval | None:
        return self.numbers.interval()


@dataclass(frozen=True)
class Judged:
    """A claim's verdict on one data set and backbone.

    Attributes:
        contrasts: its comparisons, the weakest for the claim first.
        missing: what is needed and not there, a line each.
        absent: rows of which there is none.
        elsewhere: data sets of which one is needed, too.
    """

    claim: Claim
    suite: str
    dataset: str
    backbone: str
    verdict: Verdict
    contrasts: tuple[Contrast, ...]
    missing: tuple[str, ...] = ()
    absent: tuple[Rows, ...] = ()
    elsewhere: tuple[str, ...] = ()


def judge(claims: Claims, suite: str, comparisons: Sequence[Comparison]) -> list[Judged]:
    """Every claim of which the suite has the subject, by data set, backbone and the order of the file."""
    out = []
    for comparison in comparisons:
        for backbone in dict.fromkeys(row.backbone for row in comparison.rows):
            for claim in claims.claims:
                if base_rows(claim.subject, comparison.rows, backbone) and not claim.more_on_temporal:
                    out.append(_judged(claim, suite, comparison.dataset, backbone, comparison.rows))
    return out + _across(claims, suite, comparisons)


def base_rows(wanted: Rows, rows: Sequence[Row], backbone: str) -> list[Row]:
    """The base row of a method, if there is one."""
    return select(Rows(method=wanted.method), rows, backbone)


def decide(claim: Claim, found: Interval | None, refuting: Interval | None = None) -> Verdict:
    """What an interval says of a claim's limit.

    Args:
        claim: whose limit.
        found: the interval that may support it.
        refuting: the one that may refute it, wider where there are several comparisons; default: `found`.
    """
    if found is None or found.n < claim.runs:
        return "not enough runs"
    low, high = _limits(found)
    least, most = _limits(refuting or found)
    if claim.above is not None:
        supported, refuted = low > claim.above, most <= claim.above
    elif claim.below is not None:
        supported, refuted = high < claim.below, least >= claim.below
    else:
        supported = -claim.limit <= low and high <= claim.limit
        refuted = least > claim.limit or most < -claim.limit
    return "supported" if supported else "not supported" if refuted else "undecided"


def _limits(found: Interval) -> tuple[float, float]:
    """Of one value, itself: for counts, which need one run."""
    return (
        found.mean if found.low is None else found.low,
        found.mean if found.high is None else found.high,
    )


def _judged(claim: Claim, suite: str, dataset: str, backbone: str, rows: Sequence[Row]) -> Judged:
    absent = [w for w in _needed(claim) if not select(w, rows, backbone)]
    pairs = [] if absent else _pairs(claim, rows, backbone)
    missing = [f"{NO_RUN}{_called(wanted, rows, backbone)}" for wanted in absent]
    if claim.among and not absent and len(select(claim.among, rows, backbone)) < LEAST_AMONG:
        missing.append(f"fewer than {LEAST_AMONG} rows of {claim.among.text}")
        pairs, absent = [], [claim.among]
    if not pairs and not missing:
        missing.append(f"no two rows to compare: {' and '.join(w.text for w in _needed(claim))}")
        absent = _needed(claim)
    numbers = [(_title(claim, a, b), _measured(claim, a, b), _labels(a, b)) for a, b in pairs]
    return _verdict(claim, suite, dataset, backbone, numbers, missing, absent)


def _called(wanted: Rows, rows: Sequence[Row], backbone: str) -> str:
    """What is asked of a setting matters where the setting was varied at all."""
    anything = wanted.model_copy(update=dict.fromkeys(wanted.conditions()))
    return wanted.text if select(anything, rows, backbone) else wanted.name


def _across(claims: Claims, suite: str, comparisons: Sequence[Comparison]) -> list[Judged]:
    """The claims that set a temporally demanding data set against one told by appearance."""
    out = []
    for claim in (c for c in claims.claims if c.more_on_temporal):
        here: dict[str, dict[str, Comparison]] = {}  # backbone -> data set -> its rows
        for comparison in comparisons:
            for backbone in dict.fromkeys(row.backbone for row in comparison.rows):
                if base_rows(claim.subject, comparison.rows, backbone):
                    here.setdefault(backbone, {})[comparison.dataset] = comparison
        for backbone, tables in here.items():
            temporal = [tables[d] for d in claims.temporal if d in tables]
            appearance = [tables[d] for d in claims.appearance if d in tables]
            for t in temporal:
                out += [_more_on(claim, suite, backbone, t, a) for a in appearance]
            if bool(temporal) != bool(appearance):
                wanted = claims.appearance if temporal else claims.temporal
                missing = f"{NO_RUN}{claim.subject.text} on any of {', '.join(wanted)}"
                (first, *_) = temporal or appearance
                numbers: list[tuple[str, Paired, tuple[str, ...]]] = []
                found = _verdict(claim, suite, first.dataset, backbone, numbers, [missing], [])
                out.append(replace(found, elsewhere=tuple(wanted)))
    return out


def _more_on(claim: Claim, suite: str, backbone: str, t: Comparison, a: Comparison) -> Judged:
    absent = [w for w in _needed(claim) for c in (t, a) if not select(w, c.rows, backbone)]
    missing = [
        f"{NO_RUN}{w.text} on {c.dataset}"
        for w in _needed(claim)
        for c in (t, a)
        if not select(w, c.rows, backbone)
    ]
    numbers = []
    for wanted in claim.than if not missing else ():
        leads = []
        for comparison in (t, a):
            (of,), (than,) = (select(w, comparison.rows, backbone) for w in (claim.subject, wanted))
            leads.append(_measured(claim, of, than))
            labels = _labels(of, than)
        on_t, on_a = leads
        values = {s: v - on_a.values[s] for s, v in on_t.values.items() if s in on_a.values}
        dropped = [
            f"{c.dataset}: {line}" for c, lead in zip((t, a), leads, strict=True) for line in lead.dropped
        ]
        name = f"lead over {labels[1]}: {t.dataset} - {a.dataset}"
        numbers.append((name, Paired(values, tuple(dropped)), labels))
    return _verdict(claim, suite, f"{t.dataset}, {a.dataset}", backbone, numbers, missing, absent)


def _verdict(
    claim: Claim,
    suite: str,
    dataset: str,
    backbone: str,
    numbers: Sequence[tuple[str, Paired, tuple[str, ...]]],
    missing: Sequence[str],
    absent: Sequence[Rows],
) -> Judged:
    """All comparisons must support a claim; each may refute it, with Bonferroni's correction."""
    corrected = 1 - (1 - CONFIDENCE) / max(1, len(numbers))
    contrasts = [Contrast(name, p, labels, decide(claim, p.interval())) for name, p, labels in numbers]
    contrasts.sort(key=lambda c: _weakness(claim, c))
    strict = [decide(claim, p.interval(), p.interval(corrected)) for _, p, _ in numbers]
    lacking = [c for c in contrasts if c.verdict == "not enough runs"]
    lines = [*missing, *(too_few(claim, c) for c in lacking)]
    verdict: Verdict = "undecided"
    if "not supported" in strict:
        verdict = "not supported"
    elif lines:
        verdict = "not enough runs"
    elif all(v == "supported" for v in strict):
        verdict = "supported"
    return Judged(
        claim, suite, dataset, backbone, verdict, tuple(contrasts), tuple(lines), tuple(dict.fromkeys(absent))
    )


def too_few(claim: Claim, contrast: Contrast) -> str:
    """What a comparison without enough pairs lacks."""
    n = len(contrast.numbers.values)
    what = "pair" if len(contrast.labels) > 1 else "run"
    text = f"{contrast.name}: {n} {what}{'' if n == 1 else 's'} of the {claim.runs} that are needed"
    reasons: dict[str, list[str]] = {}
    for line in contrast.numbers.dropped:  # `seed 2: no finished run of full`
        where, _, why = line.rpartition("seed ")
        seed, _, reason = why.partition(": ")
        reasons.setdefault(f"{where}{reason}", []).append(seed)
    said = [f"{reason}, seed {', '.join(seeds)}" for reason, seeds in reasons.items()]
    return text + (f" ({'; '.join(said)})" if said else "")


def _weakness(claim: Claim, contrast: Contrast) -> tuple[float, str]:
    """Least for the comparison that speaks least for the claim; those without a number first of all."""
    found = contrast.interval
    if found is None:
        return float("-inf"), contrast.name
    low, high = _limits(found)
    if claim.above is not None:
        return low, contrast.name
    return -(high if claim.below is not None else max(-low, high)), contrast.name


def _needed(claim: Claim) -> list[Rows]:
    return [claim.subject, *claim.than]


def _pairs(claim: Claim, rows: Sequence[Row], backbone: str) -> list[tuple[Row, Row | None]]:
    if claim.among:
        chosen = sorted(select(claim.among, rows, backbone), key=lambda row: -row.top1.mean)
        return list(combinations(chosen, 2))
    of = select(claim.subject, rows, backbone)
    if not claim.than:
        return [(row, None) for row in of]
    return [
        (a, b)
        for a in of
        for wanted in claim.than
        for b in select(wanted, rows, backbone)
        if a is not b and (claim.match is None or count_of(a, claim.subject) == count_of(b, wanted))
    ]


def _measured(claim: Claim, a: Row, b: Row | None) -> Paired:
    if b is None:
        return single(a, _value(claim))
    alike = (*ALIKE, machine) if claim.measure in COSTS else ALIKE
    if claim.kind == "ratio":
        return paired(a, b, _value(claim), lambda x, y: x / y, alike)
    return paired(a, b, _value(claim), alike=alike)


def _value(claim: Claim) -> Callable[[Run], float | None]:
    """How the claim's measure is read from a run."""

    def share(run: Run) -> float:
        return 100 * run.cost.trainable_params / run.cost.total_params

    def drop(run: Run) -> float | None:
        m = run.metrics
        return None if m.top1_shuffled is None else m.top1 - m.top1_shuffled

    read = {"trained_share": share, "shuffled_drop": drop}.get(claim.measure)
    if read is not None:
        return read
    if claim.measure == "top1":
        return lambda run: run.metrics.top1
    # a cost of zero was not measured
    return lambda run: float(getattr(run.cost, claim.measure)) or None


def _title(claim: Claim, a: Row, b: Row | None) -> str:
    sign = "/" if claim.kind == "ratio" else "-"
    return a.label if b is None else f"{a.label} {sign} {b.label}"


def _labels(a: Row, b: Row | None) -> tuple[str, ...]:
    return (a.label,) if b is None else (a.label, b.label)
