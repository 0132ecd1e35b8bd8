"""The ledger: every checkable claim of the papers, and the verdict that its rule computes from recorded runs.

A rule is data, written before the runs that it judges. It names cells of a recipe, a metric, an interval or a threshold,
the *readings* that the print leaves open, and *nulls*: settings without the claimed cause, where it must fail. Nobody
types a verdict.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ndiv_lib._checks import require
from ndiv_lib.reporting.results import RECORDED, Result, bootstrap_interval, load, median_difference_interval

STATUSES = {
    "reproduced": "the claim holds in our runs, in every reading of the print",
    "reproduced-with-conditions": "it holds under the conditions named, and fails without them",
    "differs": "our runs show something else",
    "erratum": "a computation contradicts what is printed",
    "not-testable": "a judgement by eye, by volunteers, or bookkeeping",
    "pending": "not judged yet",
}

KEPT = (
    "watch_steps",
    "keep",
)  # fields that say what a record keeps, not what its run does: no condition of a claim

_SOURCE = Path(__file__).parents[2] / "book" / "ledger" / "claims.yml"
_PACKAGED = Path(__file__).parent / "claims.yml"


@dataclass(frozen=True)
class Rule:
    """How a claim is judged.

    Args:
        recipe: where the cells are recorded.
        nulls: for names in braces, the values for which the rule must not hold: no diversity, another pairing.
        holds: the claim as an expression. ``all``, ``any`` and ``not`` combine tests; ``above``, ``below``, ``above_by_at_most``
            compare the medians of cells, ``at_least``, ``at_most`` one cell with a value, ``matches`` it with a printed number.
        erratum: an expression that contradicts the print.
        readings: names in braces, and the values among which the print does not choose.
        fixed: names in braces, and their values.
        at: names in braces; expressions must hold at every value.
        scope: conditions that every verdict of this rule has.
    """

    recipe: str
    nulls: Mapping[str, Sequence[Any]]
    holds: Mapping[str, Any]
    erratum: Mapping[str, Any] | None = None
    readings: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    at: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    scope: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """One checkable statement of a paper, paraphrased; ``numbers`` are printed values, ``suspicion`` what to look at twice."""

    id: str
    paper: str
    where: str
    kind: str
    claim: str
    numbers: Mapping[str, Any]
    data: str
    testable_how: str
    open_choices: str
    suspicion: str
    chapter: str = ""
    rule: Rule | None = None
    evidence: tuple[str, ...] = ()

    @property
    def not_testable(self) -> bool:
        """Whether nothing that runs could decide it."""
        return self.testable_how.startswith("not-testable") and not any(
            tag in self.testable_how for tag in ("cpu-", "gpu-")
        )


@dataclass(frozen=True)
class Check:
    """One comparison: the estimate from recorded values with the ends that decide, and whether the test holds.

    The ends are a 95 % interval, or the least and the largest seed where the test asks for every or some seed.
    """

    test: str
    metric: str
    cells: tuple[str, ...]
    estimate: float
    low: float
    high: float
    holds: bool

    def __str__(self) -> str:
        cells = " against ".join(self.cells)
        return f"{self.test}: {cells}: {self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class Verdict:
    """What a rule says: a status, the conditions it needs, the checks that decided, and one sentence."""

    id: str
    status: str
    sentence: str
    conditions: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    @property
    def cells(self) -> list[str]:
        """The recorded cells it stands on, as ``recipe/cell``."""
        return list(dict.fromkeys(cell for check in self.checks for cell in check.cells))


def load_claims(path: str | os.PathLike[str] | None = None) -> list[Claim]:
    """Read the ledger, in the order of the papers.

    Args:
        path: another ledger; by default the one of the source tree, or the one that the package carries.

    Raises:
        ImportError: without PyYAML (extra ``book``).
        ValueError: for an entry with fields that no claim or rule has.

    Example:
        >>> claims = load_claims()
        >>> len(claims), claims[0].paper
        (216, 'NDiv')
    """
    yaml = require("yaml", "book")
    text = Path(path or (_SOURCE if _SOURCE.is_file() else _PACKAGED)).read_text(encoding="utf-8")
    return [_claim(entry) for entry in yaml.safe_load(text)]


def verdicts(
    claims: Sequence[Claim] | None = None, *, folder: str | os.PathLike[str] = RECORDED
) -> dict[str, Verdict]:
    """Judge claims on the runs recorded under ``folder``; claim id to :class:`Verdict`.

    Example:
        >>> verdicts()["ndiv-versions"].status
        'not-testable'
    """
    return {
        claim.id: verdict(claim, folder=folder) for claim in (load_claims() if claims is None else claims)
    }


def verdict(claim: Claim, *, folder: str | os.PathLike[str] = RECORDED) -> Verdict:
    """Judge one claim.

    An erratum that holds in every reading decides. Otherwise the claim is reproduced if it holds in every reading, reproduced
    with conditions if in some, and differs if in none. A rule that also holds for a null decides nothing.

    Raises:
        ValueError: for a rule that names a test or a metric that does not exist, or has no null.
    """
    if claim.rule is None:
        status = "not-testable" if claim.not_testable else "pending"
        return Verdict(claim.id, status, STATUSES[status].capitalize() + ".")
    try:
        return _judged(claim.id, claim.rule, folder)
    except FileNotFoundError as missing:
        return Verdict(claim.id, "pending", f"Its runs are not recorded yet: {missing}")


def _claim(entry: Mapping[str, Any]) -> Claim:
    try:
        rule = Rule(**entry["rule"]) if entry.get("rule") else None
        return Claim(**{**entry, "rule": rule, "evidence": tuple(entry.get("evidence", ()))})
    except TypeError as error:
        raise ValueError(
            f"expected the fields of a claim and its rule in {entry.get('id')!r}, got another: {error}."
        ) from None


# --- Judging ----------------------------------------------------------------------------------------------------------


def _judged(name: str, rule: Rule, folder: str | os.PathLike[str]) -> Verdict:
    bench = _Bench(rule, folder)
    readings = [dict(rule.fixed) | reading for reading in _products(rule.readings)]
    outcomes = [bench.everywhere(rule.holds, reading) for reading in readings]
    held, checks = sum(holds for holds, _ in outcomes), _distinct(outcomes)
    conditions = dict(rule.scope)
    if 0 < held < len(readings):
        conditions |= bench.separating(readings, outcomes)
    where = ", ".join(f"{key} = {value}" for key, value in conditions.items())
    if 0 < held < len(readings):
        where += f" ({held} of {len(readings)} readings)"

    against = [bench.everywhere(rule.erratum, reading) for reading in readings] if rule.erratum else []
    decided_by = rule.holds
    if rule.erratum and all(contradicted for contradicted, _ in against):
        decided_by, checks = rule.erratum, _distinct([*against, *outcomes])
        status, sentence = "erratum", "A computation contradicts what is printed"
        sentence += f"; it holds with {where}." if held and where else "."
    elif not held:
        nearest = max((part for _, part in outcomes), key=lambda part: sum(check.holds for check in part))
        failed = next((f"; what fails: {check}" for check in nearest if not check.holds), "")
        return Verdict(name, "differs", f"At best holds in {_count(nearest)}{failed}.", checks=checks)
    elif where:
        status, sentence = "reproduced-with-conditions", f"Holds with {where}."
    else:
        status, sentence = "reproduced", f"Holds in {_count(checks)}."

    if null := bench.null_that_holds(decided_by, readings):
        sentence = f"The rule also holds with {null}, so that it decides nothing."
        return Verdict(name, "pending", sentence, checks=checks)
    return Verdict(name, status, sentence, conditions, checks)


Outcome = tuple[bool, tuple[Check, ...]]


class _Bench:
    """A rule's expressions, evaluated on recorded runs."""

    def __init__(self, rule: Rule, folder: str | os.PathLike[str]) -> None:
        self.rule, self.folder = rule, folder
        self.results: dict[str, Result] = {}

    def result(self, address: str) -> Result:
        if address not in self.results:
            recipe, cell = address.split("/")
            self.results[address] = load(recipe, cell, folder=self.folder)
        return self.results[address]

    def everywhere(self, expression: Mapping[str, Any], names: Mapping[str, Any]) -> Outcome:
        outcomes = [self.evaluate(expression, {**names, **place}) for place in _products(self.rule.at)]
        return all(held for held, _ in outcomes), _distinct(outcomes)

    def evaluate(self, expression: Mapping[str, Any], names: Mapping[str, Any]) -> Outcome:
        ((operator, argument),) = expression.items()
        if operator == "not":
            held, checks = self.evaluate(argument, names)
            return not held, tuple(
                replace(check, test=f"not ({check.test})", holds=not check.holds) for check in checks
            )
        if operator in ("all", "any"):
            outcomes = [self.evaluate(part, names) for part in argument]
            return (all if operator == "all" else any)(held for held, _ in outcomes), _distinct(outcomes)
        if operator not in TESTS:
            raise ValueError(f"expected a test out of all, any, not, {', '.join(TESTS)}, got {operator!r}.")
        checks = tuple(self.test(operator, names, **argument))
        return all(check.holds for check in checks), checks

    def test(
        self,
        operator: str,
        names: Mapping[str, Any],
        *,
        metric: str,
        cell: str,
        baselines: Sequence[str] = (),
        recipe: str | None = None,
        **options: Any,
    ) -> Iterator[Check]:
        metric = metric.format(**names)
        addresses = [f"{recipe or self.rule.recipe}/{one.format(**names)}" for one in (cell, *baselines)]
        first, *others = [self.values(address, metric) for address in addresses]
        seeds = {"every": "every seed's", "some": "some seed's"}.get(options.get("of", ""), "median")
        threshold = [_text(value) for key, value in options.items() if key != "of"]
        wording = " ".join([seeds, metric, operator.replace("_", " "), *threshold])
        if not baselines:
            yield Check(wording, metric, (addresses[0],), *TESTS[operator](first, **options))
        for address, other in zip(addresses[1:], others, strict=True):
            yield Check(wording, metric, (addresses[0], address), *TESTS[operator](first, other, **options))

    def values(self, address: str, metric: str) -> list[float]:
        values = self.result(address).values
        if metric not in values:
            raise ValueError(
                f"expected a metric of {address} out of {', '.join(sorted(values))}, got {metric!r}."
            )
        return values[metric]

    def null_that_holds(self, expression: Mapping[str, Any], readings: Sequence[Mapping[str, Any]]) -> str:
        """The first null for which the expression holds as well; the empty string if there is none, as there should be."""
        used = {
            name: values for name, values in self.rule.nulls.items() if "{" + name + "}" in str(expression)
        }
        if not used:
            raise ValueError(
                f"expected a null for a name in {expression}, got nulls for {', '.join(self.rule.nulls)}."
            )
        for name, values in used.items():
            for value, reading in itertools.product(values, readings):
                if self.everywhere(expression, {**reading, name: value})[0]:
                    return f"{name} = {value}"
        return ""

    def separating(
        self, readings: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]
    ) -> dict[str, Any]:
        """Configuration fields whose values tell the readings that hold from those that fail."""
        used = [{cell for check in checks for cell in check.cells} for _, checks in outcomes]
        shared = set.intersection(*used)
        seen: dict[bool, dict[str, set[str]]] = {True: {}, False: {}}
        for (held, _), cells in zip(outcomes, used, strict=True):
            for address in sorted(cells - shared):
                for key, value in self.result(address).config.items():
                    if key in KEPT:
                        continue
                    seen[held].setdefault(key, set()).add(_text(value))
        fields = {
            key: values
            for key, values in seen[True].items()
            if values.isdisjoint(seen[False].get(key, values))
        }
        if not fields:
            holding = [reading for reading, (held, _) in zip(readings, outcomes, strict=True) if held]
            fields = {key: {_text(reading[key]) for reading in holding} for key in self.rule.readings}
        return {key: " or ".join(sorted(values)) for key, values in fields.items()}


# --- Tests: recorded values to (estimate, low, high, holds) -----------------------------------------------------------

Ends = tuple[float, float, float, bool]


def _difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    return float(np.median(first) - np.median(second)), *median_difference_interval(first, second)


def _above(first: Sequence[float], second: Sequence[float], *, margin: float = 0.0) -> Ends:
    estimate, low, high = _difference(first, second)
    return estimate, low, high, low > margin


def _below(first: Sequence[float], second: Sequence[float], *, margin: float = 0.0) -> Ends:
    estimate, low, high = _difference(first, second)
    return estimate, low, high, high < -margin


def _above_by_at_most(first: Sequence[float], second: Sequence[float], *, margin: float) -> Ends:
    estimate, low, high = _difference(first, second)
    return estimate, low, high, high <= margin


def _ends(values: Sequence[float], of: str) -> tuple[float, float, float]:
    """The median with its interval, or with the least and largest seed."""
    if of not in ("every", "some", "median"):
        raise ValueError(f"expected of: every, some or median, got {of!r}.")
    low, high = bootstrap_interval(values) if of == "median" else (min(values), max(values))
    return float(np.median(values)), low, high


def _at_least(values: Sequence[float], *, value: float, of: str) -> Ends:
    estimate, low, high = _ends(values, of)
    return estimate, low, high, (high if of == "some" else low) >= value


def _at_most(values: Sequence[float], *, value: float, of: str) -> Ends:
    estimate, low, high = _ends(values, of)
    return estimate, low, high, (low if of == "some" else high) <= value


def _matches(values: Sequence[float], *, value: float) -> Ends:
    estimate, low, high = _ends(values, "median")
    return estimate, low, high, low <= value <= high


TESTS: dict[str, Callable[..., Ends]] = {
    "above": _above,
    "below": _below,
    "above_by_at_most": _above_by_at_most,
    "at_least": _at_least,
    "at_most": _at_most,
    "matches": _matches,
}


# --- Small things -----------------------------------------------------------------------------------------------------


def _products(options: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def _distinct(outcomes: Sequence[Outcome]) -> tuple[Check, ...]:
    return tuple(dict.fromkeys(check for _, checks in outcomes for check in checks))


def _count(checks: Sequence[Check]) -> str:
    return f"{sum(check.holds for check in checks)} of {len(checks)} checks"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
