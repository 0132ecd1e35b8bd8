"""The ledger's pages: ``{ledger-table}``, ``{where-to-find}`` for a paper, and the role ``{claim}``.

Everything is computed when a page is built: verdicts from the recorded runs, and from the claims' ``where`` the list of what
stands where. The pages are complete without JavaScript; ``ledger.js`` adds the filter.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from ndiv_lib.reporting.ledger import STATUSES, Check, Claim, Verdict, load_claims, verdicts
from ndiv_lib.reporting.results import RECORDED

ROOT = Path(__file__).parents[2]
PAGE = "../book/ledger.html"  # every page of the book lies one folder deep
KINDS = ("Abstract", "Sec.", "Eq.", "Prop.", "Algorithm", "Fig.", "Table", "App.")


class Ledger:
    """Claims and verdicts as HTML."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.claims = {claim.id: claim for claim in load_claims()}
        self.verdicts = verdicts(list(self.claims.values()))

    def table(self) -> str:
        cards = "".join(self._card(claim, self.verdicts[claim.id]) for claim in self.claims.values())
        return f'{self._summary()}{self._filter()}<ol class="nd-claims">{cards}</ol>'

    def places(self, paper: str) -> str:
        """A table: every place of a paper that a claim stands in, its claims, and where this book deals with them."""
        claims = defaultdict(list)
        for claim in self.claims.values():
            if claim.paper == paper:
                for place in places_of(claim.where):
                    claims[place].append(claim)
        rows = "".join(
            f'<tr><th scope="row">{escape(place)}</th><td>{self._links(claims[place])}</td>'
            f"<td>{self._dealt_with(claims[place])}</td></tr>"
            for place in sorted(claims, key=place_order)
        )
        head = '<thead><tr><th scope="col">Place</th><th scope="col">Claims</th><th scope="col">In this book</th></tr></thead>'
        return f'<table class="table nd-places">{head}<tbody>{rows}</tbody></table>'

    def _summary(self) -> str:
        counts = Counter((claim.paper, self.verdicts[claim.id].status) for claim in self.claims.values())
        papers = list(dict.fromkeys(claim.paper for claim in self.claims.values()))
        head = "".join(f'<th scope="col">{escape(paper)}</th>' for paper in papers)
        rows = "".join(
            f'<tr><th scope="row">{_badge(status)} <small>{escape(meaning)}</small></th>'
            + "".join(f"<td>{counts[paper, status]}</td>" for paper in papers)
            + "</tr>"
            for status, meaning in STATUSES.items()
        )
        return (
            f'<table class="table nd-summary"><thead><tr><th scope="col">Status</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )

    def _filter(self) -> str:
        def select(name: str, values: Iterable[str]) -> str:
            options = "".join(
                f'<option value="{escape(value)}">{escape(_words(value))}</option>' for value in values
            )
            return f'<label>{name.capitalize()} <select name="{name}"><option value="">all</option>{options}</select></label>'

        papers = dict.fromkeys(claim.paper for claim in self.claims.values())
        return (
            f'<form class="nd-widget nd-filter" hidden>{select("paper", papers)}{select("status", STATUSES)}'
            '<label>Words <input type="search" name="words" autocomplete="off"></label>'
            f'<p role="status" aria-live="polite">{len(self.claims)} of {len(self.claims)} claims</p></form>'
        )

    def _card(self, claim: Claim, verdict: Verdict) -> str:
        facts = {"Printed": _printed(claim.numbers), "Data": escape(claim.data)}
        if claim.rule:
            facts |= {
                "Ours": escape(verdict.sentence) + _numbers(verdict.checks),
                "Chapter": self._chapter(claim),
            }
        details = {
            "Checks": _list(
                f"{'✓' if check.holds else '✗'} {self._check(check)}" for check in verdict.checks
            ),
            "Rule": f"<pre>{escape(_rule(claim))}</pre>" if claim.rule else "",
            "Tests": _list(self._file(test) for test in claim.evidence),
            "How to test": escape(claim.testable_how),
            "Left open in print": escape(claim.open_choices),
            "Doubts": escape(claim.suspicion),
        }
        return (
            f'<li class="nd-claim" id="{claim.id}" data-paper="{claim.paper}" data-status="{verdict.status}">'
            f'<p class="nd-head">{_badge(verdict.status)} <a href="#{claim.id}">{claim.id}</a> '
            f"<span>{escape(claim.paper)}, {escape(claim.where)}</span></p><p>{escape(claim.claim)}</p>{_facts(facts)}"
            f"<details><summary>How it is judged</summary>{_facts(details)}</details></li>"
        )

    def _check(self, check: Check) -> str:
        cells = " against ".join(
            self._file(f"ndiv_lib/reporting/recorded/{cell}.json", cell) for cell in check.cells
        )
        return f"{escape(check.test)}: {cells}: {check.estimate:.4g} [{check.low:.4g}, {check.high:.4g}]"

    def _file(self, reference: str, text: str = "") -> str:
        path = re.split("::|#", reference)[0]
        return f'<a href="{self.address}/blob/main/{escape(path)}">{escape(text or reference)}</a>'

    def _chapter(self, claim: Claim) -> str:
        pages = sorted((ROOT / "notebooks").glob(f"{claim.chapter}*.ipynb")) if claim.chapter else []
        return " ".join(
            f'<a href="../notebooks/{page.stem}.html">{escape(title_of(page))}</a>' for page in pages
        )

    def _links(self, claims: Iterable[Claim]) -> str:
        return _list(
            f'<a href="{PAGE}#{claim.id}">{claim.id}</a> ({_words(self.verdicts[claim.id].status)})'
            for claim in claims
        )

    def _dealt_with(self, claims: Iterable[Claim]) -> str:
        chapters = dict.fromkeys(filter(None, map(self._chapter, claims)))
        recipes = dict.fromkeys(f"recipe <code>{claim.rule.recipe}</code>" for claim in claims if claim.rule)
        if chapters or recipes:
            return _list([*chapters, *recipes])
        return _words(
            "not-testable"
            if all(self.verdicts[claim.id].status == "not-testable" for claim in claims)
            else "pending"
        )


@cache
def places_of(where: str) -> list[str]:
    """Places that a claim's ``where`` names: ``"Sec. 3 (below Eq. 4), Alg. 1 line 6"`` is Sec. 3, Eq. 4 and Algorithm 1."""
    found, kind = [], ""
    for piece in re.split(r"[;,]| and ", where.replace("Proposition", "Prop.")):
        named = re.findall(r"(Sec|Fig|Table|Eq|App|Alg|Algorithm|Prop)\.? (A?\.?\d[\d.a-d-]*)", piece)
        found += [f"{_kind(kind)} {number.rstrip('.')}" for kind, number in named]
        if named:
            kind = named[-1][0]
        elif re.fullmatch(r"\s*\d+(-\d+)?\s*", piece):  # "Fig. 10-13, 16, 17"
            found.append(f"{_kind(kind)} {piece.strip()}")
        else:
            found.append(piece.strip()[0].upper() + piece.strip()[1:])
    return list(dict.fromkeys(found))


def _kind(kind: str) -> str:
    return {"Table": "Table", "Alg": "Algorithm", "Algorithm": "Algorithm"}.get(kind, f"{kind}.")


def place_order(place: str) -> tuple[int, list[int], str]:
    """Sections, equations, algorithms, figures, tables, appendices; by number, not by letter."""
    kind = next((index for index, kind in enumerate(KINDS) if place.startswith(kind)), len(KINDS))
    return kind, [int(number) for number in re.findall(r"\d+", place)], place


@cache
def title_of(notebook: Path) -> str:
    """The first heading of a notebook."""
    return re.search(r'"# (.+?)(?:\\n)?"', notebook.read_text(encoding="utf-8"))[1]


def _words(status: str) -> str:
    return status.replace("-with-", " with ").replace("not-", "not ")


def _badge(status: str) -> str:
    return f'<span class="nd-status nd-{status}">{_words(status)}</span>'


def _list(items: Iterable[str]) -> str:
    rows = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{rows}</ul>" if rows else ""


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items() if value)
    return f"<dl>{rows}</dl>" if rows else ""


def _printed(numbers: Any) -> str:
    """Printed numbers in one line: ``key value`` pairs, nested ones in brackets."""
    if isinstance(numbers, list):
        return ", ".join(map(_printed, numbers))
    if not isinstance(numbers, dict):
        return escape(str(numbers))
    if numbers.keys() == {"mean", "std"}:
        return f"{numbers['mean']} ± {numbers['std']}"
    nested = {
        key for key, value in numbers.items() if isinstance(value, dict) and value.keys() != {"mean", "std"}
    }
    return "; ".join(
        escape(str(key).replace("_", " "))
        + (f" ({_printed(value)})" if key in nested else f" {_printed(value)}")
        for key, value in numbers.items()
    )


def _numbers(checks: Iterable[Check]) -> str:
    """What the checks found, one line for each metric and test: the least and the largest estimate."""
    found = defaultdict(list)
    for check in checks:
        found[check.test].append(check)
    lines = []
    for test, group in found.items():
        ends = dict.fromkeys(f"{end([check.estimate for check in group]):.3g}" for end in (min, max))
        lines.append(
            f"{escape(test)}: {' to '.join(ends)}, holds in {sum(c.holds for c in group)} of {len(group)}"
        )
    return _list(lines)


def _rule(claim: Claim) -> str:
    fields = {key: value for key, value in dataclasses.asdict(claim.rule).items() if value}
    return yaml.safe_dump(fields, sort_keys=False, default_flow_style=None, width=100)


# --- Sphinx ---------------------------------------------------------------------------------------------------------------


class LedgerDirective(SphinxDirective):
    """Inserts what the ledger computes, and remembers the files it stands on."""

    def html(self, ledger: Ledger) -> str:
        return ledger.table()

    def run(self) -> list[nodes.Node]:
        sources = [ROOT / "book/ledger/claims.yml", ROOT / "ndiv_lib/reporting/ledger.py", Path(__file__)]
        for path in itertools.chain(sources, RECORDED.rglob("*.json")):
            self.env.note_dependency(str(path))
        return [nodes.raw("", self.html(_ledger(self.config)), format="html")]


class PlacesDirective(LedgerDirective):
    option_spec = {"paper": directives.unchanged_required}  # noqa: RUF012 - as docutils wants it

    def html(self, ledger: Ledger) -> str:
        return ledger.places(self.options["paper"])


class ClaimRole(SphinxRole):
    """A claim's name, linked to its row, with its status."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        ledger = _ledger(self.config)
        if self.text not in ledger.claims:
            logging.getLogger(__name__).error(
                "no claim %r in the ledger", self.text, location=self.get_location()
            )
            return [nodes.problematic(text=self.text)], []
        status = _words(ledger.verdicts[self.text].status)
        link = nodes.reference("", self.text, refuri=f"{PAGE}#{self.text}", internal=True)
        return [link, nodes.Text(f" ({status})")], []


def _ledger(config: Any) -> Ledger:
    return _read(config.html_theme_options["repository_url"])


@cache
def _read(address: str) -> Ledger:
    return Ledger(address)


def add_filter(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Load the script and the style on the pages that use them only."""
    if page == "book/ledger":
        app.add_js_file("ledger.js", loading_method="defer")
    if page in ("book/ledger", "book/where-to-find"):
        app.add_css_file("ledger.css")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("ledger-table", LedgerDirective)
    app.add_directive("where-to-find", PlacesDirective)
    app.add_role("claim", ClaimRole())
    app.connect("html-page-context", add_filter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
