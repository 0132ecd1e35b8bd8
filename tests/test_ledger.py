"""The ledger: its rules on made-up runs whose answer is known, and every verdict's evidence."""

import re
from pathlib import Path

import pytest

from ndiv_lib.reporting.ledger import STATUSES, TESTS, Claim, Rule, load_claims, verdict, verdicts
from ndiv_lib.reporting.results import Result, save

ROOT = Path(__file__).parents[1]
CLAIMS = load_claims()
RULED = [claim for claim in CLAIMS if claim.rule]


def claim_with(rule: Rule | None, testable_how: str = "cpu-live") -> Claim:
    return Claim(
        "made-up", "NDiv", "Sec. 1", "qualitative", "It covers.", {}, "", testable_how, "", "", rule=rule
    )


@pytest.fixture
def record(tmp_path):
    def write(cell: str, *cover: float, outlier: float = 0.1, **config) -> None:
        values = {"cover": list(cover), "outlier": [outlier] * len(cover)}
        save(
            Result(
                "toy", cell, config, list(range(len(cover))), values, n_real=8, n_generated=8, minutes=0.0
            ),
            tmp_path,
        )

    return write


LOW, HIGH = (0.1, 0.12, 0.14, 0.3, 0.2), (0.8, 0.9, 0.85, 0.95, 0.88)
ABOVE = {"above": {"metric": "cover", "cell": "{ours}", "baselines": ["gan"]}}


def judge(tmp_path, **fields):
    fields = {
        "recipe": "toy",
        "nulls": {"ours": ["gan"]},
        "readings": {"ours": ["paper"]},
        "holds": ABOVE,
    } | fields
    return verdict(claim_with(Rule(**fields)), folder=tmp_path)


def test_a_clear_difference_is_reproduced_and_its_absence_differs(record, tmp_path):
    record("gan", *LOW, weight=0.0)
    record("paper", *HIGH, weight=1e4)
    found = judge(tmp_path)
    assert found.status == "reproduced"
    assert found.cells == ["toy/paper", "toy/gan"]
    assert found.checks[0].low > 0.5
    record("paper", *LOW, weight=1e4)
    assert judge(tmp_path).status == "differs"


def test_a_claim_that_holds_in_one_reading_names_the_condition(record, tmp_path):
    record("gan", *LOW, weight=0.0, width=64)
    record("literal", *LOW, weight=1.0, width=64)
    record("paper", *HIGH, weight=1e4, width=64)
    found = judge(tmp_path, readings={"ours": ["literal", "paper"]}, nulls={"ours": ["gan", "literal"]})
    assert (found.status, found.conditions) == ("reproduced-with-conditions", {"weight": "10000"})
    assert "weight = 10000" in found.sentence


def test_what_a_record_keeps_is_no_condition(record, tmp_path):
    record("gan", *LOW, weight=0.0)
    record("literal", *LOW, weight=1.0, watch_steps=[0])
    record("paper", *HIGH, weight=1e4, watch_steps=[0, 100])
    found = judge(tmp_path, readings={"ours": ["literal", "paper"]}, nulls={"ours": ["gan", "literal"]})
    assert found.conditions == {"weight": "10000"}


def test_conditions_stand_in_the_order_of_their_cells(record, tmp_path):
    record("gan", *LOW)
    for name in "fbdace":
        record(f"paper-{name}", *HIGH, **{name: 1.0})
        record(f"literal-{name}", *LOW, **{name: 0.0})
    found = judge(
        tmp_path,
        holds={"above": {"metric": "cover", "cell": "{ours}-{name}", "baselines": ["gan"]}},
        readings={"ours": ["literal", "paper"]},
        nulls={"ours": ["literal"]},
        at={"name": list("fbdace")},
    )
    assert list(found.conditions) == list("abcdef")


def test_a_scope_is_a_condition(record, tmp_path):
    record("gan", *LOW)
    record("paper", *HIGH)
    assert judge(tmp_path, scope={"data": "toy"}).conditions == {"data": "toy"}


def test_a_rule_that_holds_for_its_null_decides_nothing(record, tmp_path):
    record("gan", *LOW)
    record("paper", *HIGH)
    record("no_diversity", *HIGH)
    found = judge(tmp_path, nulls={"ours": ["gan", "no_diversity"]})
    assert found.status == "pending"
    assert "ours = no_diversity" in found.sentence


def test_an_erratum_needs_its_contradiction_and_not_in_the_null(record, tmp_path):
    record("gan", *LOW, outlier=0.1)
    record("paper", *HIGH, outlier=0.1)
    record("printed", *HIGH, outlier=0.8)
    lost = {"at_least": {"metric": "outlier", "cell": "{one}", "value": 0.5, "of": "every"}}
    fields = {"erratum": lost, "nulls": {"ours": ["gan"], "one": ["paper"]}}
    assert judge(tmp_path, **fields, fixed={"one": "printed"}).status == "erratum"
    assert judge(tmp_path, **fields, fixed={"one": "paper"}).status == "reproduced"
    assert (
        judge(tmp_path, erratum=lost, nulls={"one": ["printed"]}, fixed={"one": "printed"}).status
        == "pending"
    )


def test_a_rule_must_hold_at_every_place(record, tmp_path):
    for place, values in (("8", HIGH), ("16", LOW)):
        record(f"gan-{place}", *LOW)
        record(f"paper-{place}", *values)
    test = {"above": {"metric": "cover", "cell": "{ours}-{n}", "baselines": ["gan-{n}"]}}
    assert judge(tmp_path, holds=test, at={"n": [8]}).status == "reproduced"
    assert judge(tmp_path, holds=test, at={"n": [8, 16]}).status == "differs"


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ({"at_least": {"value": 0.8, "of": "every"}}, True),
        ({"at_least": {"value": 0.81, "of": "every"}}, False),
        ({"at_least": {"value": 0.95, "of": "some"}}, True),
        ({"at_most": {"value": 0.95, "of": "every"}}, True),
        ({"at_most": {"value": 0.8, "of": "some"}}, True),
        ({"at_most": {"value": 0.8, "of": "median"}}, False),
        ({"matches": {"value": 0.88}}, True),
        ({"matches": {"value": 0.97}}, False),
        ({"below": {"baselines": ["gan"]}}, False),
        ({"above": {"baselines": ["gan"], "margin": 0.9}}, False),
        ({"above_by_at_most": {"baselines": ["gan"], "margin": 0.9}}, True),
        ({"above_by_at_most": {"baselines": ["gan"], "margin": 0.5}}, False),
    ],
    ids=str,
)
def test_each_test_and_its_negation(record, tmp_path, test, holds):
    record("gan", *LOW)
    record("null", *(float("nan") for _ in HIGH))
    record("paper", *HIGH)
    ((operator, options),) = test.items()
    expression = {operator: {"metric": "cover", "cell": "{ours}"} | options}
    nulls = {"ours": ["null"]}
    assert judge(tmp_path, holds=expression, nulls=nulls).status == ("reproduced" if holds else "differs")
    checks = judge(tmp_path, holds={"any": [expression, ABOVE]}, nulls=nulls).checks
    assert checks[0].holds == holds
    assert judge(tmp_path, holds={"all": [{"not": expression}, ABOVE]}, nulls=nulls).status == (
        "differs" if holds else "reproduced"
    )


def test_what_is_not_recorded_is_pending(record, tmp_path):
    record("paper", *HIGH)
    found = judge(tmp_path)
    assert found.status == "pending"
    assert "toy/gan" in found.sentence


def test_without_a_rule_the_tag_decides():
    assert verdict(claim_with(None, "not-testable (volunteers).")).status == "not-testable"
    assert verdict(claim_with(None, "not-testable (visual); cpu-twin for proxies.")).status == "pending"
    assert verdict(claim_with(None)).status == "pending"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"holds": {"resembles": {}}}, "resembles"),
        ({"holds": {"above": {"metric": "beauty", "cell": "{ours}", "baselines": ["gan"]}}}, "beauty"),
        ({"holds": {"at_least": {"metric": "cover", "cell": "{ours}", "value": 0.1, "of": "most"}}}, "most"),
        ({"nulls": {"other": ["gan"]}}, "null"),
    ],
)
def test_a_wrong_rule_says_what_is_wrong(record, tmp_path, fields, message):
    record("gan", *LOW)
    record("paper", *HIGH)
    with pytest.raises(ValueError, match=message):
        judge(tmp_path, **fields)


def test_a_verdict_cannot_be_typed(tmp_path):
    path = tmp_path / "claims.yml"
    path.write_text("- {id: typed, paper: NDiv, status: reproduced}\n")
    with pytest.raises(ValueError, match="typed"):
        load_claims(path)


# --- The book's own ledger -----------------------------------------------------------------------------------------------


def test_all_claims_are_there_once_and_have_a_status():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS) == 216
    assert {claim.paper for claim in CLAIMS} == {"NDiv", "HMGAN", "cGML"}
    found = verdicts(CLAIMS)
    assert found.keys() == {claim.id for claim in CLAIMS}
    assert {one.status for one in found.values()} <= STATUSES.keys()


@pytest.mark.parametrize("claim", RULED, ids=lambda claim: claim.id)
def test_each_rule_is_decided_by_recorded_runs(claim):
    found = verdict(claim)
    assert found.status not in ("pending", "not-testable"), found.sentence
    assert found.checks


@pytest.mark.parametrize("claim", RULED, ids=lambda claim: claim.id)
def test_each_rule_needs_its_runs(claim, tmp_path):
    assert verdict(claim, folder=tmp_path).status == "pending"


def test_rules_use_known_tests():
    for claim in RULED:
        for expression in filter(None, (claim.rule.holds, claim.rule.erratum)):
            operators = set(re.findall(r"'(\w+)': \{'metric'", str(expression)))
            assert operators and operators <= TESTS.keys(), claim.id


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.chapter], ids=lambda claim: claim.id)
def test_chapters_exist(claim):
    assert len([*(ROOT / "notebooks").glob(f"{claim.chapter}*.ipynb")]) == 1


@pytest.mark.parametrize("reference", sorted({one for claim in CLAIMS for one in claim.evidence}))
def test_evidence_exists(reference):
    path, _, place = re.match(r"([^:#]+)(::|#)?(.*)", reference).groups()
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not place or re.search(rf"def {place}\b|\({re.escape(place)}\)=", text), f"{path} has no {place}"
