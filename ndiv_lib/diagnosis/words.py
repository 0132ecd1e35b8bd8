"""A diagnosis in plain words: what every check asks, what the verdict means, and the summary as text."""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

from ndiv_lib.diagnosis.checks import CLOSEST, LOST, NEIGHBORS, SEEN, Finding
from ndiv_lib.diagnosis.verdict import LEVEL, Diagnosis

WIDTH = 88  # a page of the book shows it without scrolling


class Words(NamedTuple):
    """The title of a check, what it asks, and the format of its numbers."""

    title: str
    asks: str
    format: str


WORDS = {
    "near-duplicates": Words(
        "Near-duplicates",
        f"How many generated samples are as close to another one as only the closest {100 * CLOSEST:.0f} % of real ones are? "
        "More: the generator repeats itself.",
        ".1%",
    ),
    "recall": Words(
        "Recall",
        "How many real samples lie among generated ones? Fewer: kinds of real samples are missing.",
        ".1%",
    ),
    "coverage": Words(
        "Coverage",
        f"How many real samples have a generated one nearer than their {NEIGHBORS}th real neighbor? Fewer: whole regions are "
        "missing.",
        ".1%",
    ),
    "bins": Words(
        "Uneven groups",
        "All samples are sorted into groups of look-alikes. Do both sets fill them alike? 0 is exactly alike (Jensen-Shannon "
        "divergence). More: some kinds are too rare, others too frequent.",
        ".4f",
    ),
    "emptiest bin": Words(
        "Emptiest group",
        "How far below its share is the group that generated samples avoid most, in standard errors? More: at least that kind is "
        "missing.",
        ".1f",
    ),
    "diversity": Words(
        "Variety",
        "Distance between two generated samples over that between two real ones. Below 1: less variety.",
        ".2f",
    ),
    "diversity within a condition": Words(
        "Variety within a condition",
        "How much do two generated samples of one condition differ, as against two real ones? Near 0: the generator ignores its "
        "latent and draws one picture a condition.",
        ".2f",
    ),
    "precision": Words(
        "Precision",
        "How many generated samples lie among real ones? Fewer: they look different, which is quality, not variety.",
        ".1%",
    ),
    "sharpness": Words(
        "Sharpness",
        "How far off is the strength of the finest details (logarithm of the ratio; 0 is right)? More: images are blurred or "
        "noisy.",
        ".2f",
    ),
    "difference": Words(
        "Overall difference",
        "How much farther apart are the two sets than chance puts them (energy distance)? More: they differ in some way, which "
        "need not be collapse.",
        ".4f",
    ),
}
VERDICTS = {
    "collapse": "Yes: generated samples lack variety.",
    "different": "The two sets differ, but it need not be collapse.",
    "no sign of collapse": "No sign of collapse.",
    "cannot be known": "These samples are too few to know.",
}


def words_of(finding: Finding) -> Words:
    """Title, question and format of a finding."""
    level = finding.name.removeprefix("diversity of ")
    if level == finding.name:
        return WORDS[finding.name]
    return Words(
        f"Variety of {level}",
        "How much do two generated images differ in what this resolution adds, as against two real ones? Below 1: less variety. "
        "Blur and contrast do not count.",
        ".3f",
    )


def number(finding: Finding, value: float) -> str:
    """A value of the finding as it is printed."""
    return format(value, words_of(finding).format).replace("%", " %").replace("-0.0000", "0.0000")


def percent(share: float, digits: int = 0) -> str:
    """A share as it is printed."""
    return f"{100 * share:.{digits}f} %"


def explain(diagnosis: Diagnosis) -> str:
    """Why the verdict is what it is, in a few sentences."""
    lost, power = percent(LOST), diagnosis.power
    count = f"{len(diagnosis.alarms)} of {len(diagnosis.findings)} checks"
    verb = "raises" if len(diagnosis.alarms) == 1 else "raise"
    if diagnosis.verdict == "collapse":
        facts = " ".join(_facts(diagnosis)[:3])
        return f"{facts} {count} {verb} an alarm.".strip()
    if diagnosis.verdict == "different":
        return (
            f"{count} {verb} an alarm, but none that only missing variety explains: generated samples may be blurred, shifted in "
            "color, or otherwise unlike the real ones."
        )
    if diagnosis.verdict == "no sign of collapse":
        return (
            f"No check raises an alarm. Had {lost} of the data vanished, in kinds of samples that these distances tell apart, so "
            f"many samples would have shown it in {percent(power.rates[LOST])} of cases."
        )
    return (
        f"No check raises an alarm, but that says little: had {lost} of the data vanished, so few samples would have missed it "
        f"in {percent(1 - power.rates[LOST])} of cases."
    )


def _facts(diagnosis: Diagnosis) -> list[str]:
    """What is missing, the plainest first."""
    alarms = {finding.name: finding for finding in diagnosis.alarms}
    identical = sum(condition.identical for condition in diagnosis.conditions)
    facts = []
    if identical:
        facts.append(
            f"For {identical} of {len(diagnosis.conditions)} conditions all generated samples are identical."
        )
    elif one := alarms.get("diversity within a condition"):
        facts.append(
            f"Two generated samples of one condition differ {one.value:.2f} times as much as two real ones."
        )
    if one := alarms.get("near-duplicates"):
        facts.append(
            f"{percent(one.value)} of generated samples nearly repeat another one; by chance {percent(one.floor)}."
        )
    if one := alarms.get("coverage"):
        missed, chance = percent(1 - one.value), percent(1 - one.floor)
        facts.append(f"{missed} of real samples have no generated one near them; by chance {chance}.")
    if diagnosis.bins:
        facts.append(
            f"Generated samples avoid {len(diagnosis.bins)} of {diagnosis.num_bins} groups of look-alikes."
        )
    return facts


def explain_power(diagnosis: Diagnosis) -> list[str]:
    """What so many samples can show."""
    power = diagnosis.power
    seen = (
        f"A loss of {percent(power.visible_share)} of the data is seen in at least {percent(SEEN)} of cases."
        if power.visible_share is not None
        else f"Not even a loss of half the data is seen in {percent(SEEN)} of cases."
    )
    return [
        seen,
        f"A single group that holds less than {percent(power.smallest_mode, 1)} of the data can vanish unseen.",
    ]


def to_text(diagnosis: Diagnosis) -> str:
    """The summary that ``ndiv diagnose`` prints."""
    lines = [
        "Is this mode collapse?",
        f"  {VERDICTS[diagnosis.verdict]}",
        *_wrapped(explain(diagnosis), "  "),
        "",
        *_wrapped(
            f"Compared: {diagnosis.num_real:,} real and {diagnosis.num_generated:,} generated samples; {diagnosis.compared}."
        ),
        "",
        f"{'Check':<31}{'Here':>9}   {'Chance (middle 90 %)':<23}{'Alarm beyond':>12}",
    ]
    for finding in diagnosis.findings:
        low, high = (number(finding, value) for value in finding.floor_range)
        mark = "   ALARM" if finding.alarm else ""
        title = words_of(finding).title
        chance = f"{low} to {high}"
        lines.append(
            f"{title:<31}{number(finding, finding.value):>9}   {chance:<23}{number(finding, finding.limit):>12}{mark}"
        )
    lines += [
        "",
        *_wrapped(
            "Chance is what the same numbers of samples show when both sets are shuffled together. A false alarm, in any of the "
            f"checks, happens in {percent(LEVEL)} of cases."
        ),
    ]
    if diagnosis.bins:
        lines += ["", f"Groups that generated samples avoid ({len(diagnosis.bins)} of {diagnosis.num_bins}):"]
        lines += [
            f"  {one.num_real:>4} real, {one.num_generated:>4} generated where {one.expected:.0f} are due"
            for one in diagnosis.bins[:10]
        ]
        if len(diagnosis.bins) > 10:
            lines.append(f"  ... and {len(diagnosis.bins) - 10} more")
    if diagnosis.conditions:
        lines += ["", "Least varied conditions (generated over real variety):"]
        for condition in diagnosis.conditions[:5]:
            ratio = "no two real samples" if condition.ratio != condition.ratio else f"{condition.ratio:.2f}"
            same = ", all identical" if condition.identical else ""
            lines.append(f"  {condition.name}: {ratio}{same}")
    lines += ["", "What so many samples can show, of what these distances tell apart:"]
    for line in explain_power(diagnosis):
        lines += _wrapped(line, "  ")
    lines += ["", "What to do next:"]
    for index, step in enumerate(diagnosis.next_steps, start=1):
        lines += _wrapped(step, f"  {index}. ", "     ")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str = "", then: str | None = None) -> list[str]:
    """Lines of at most ``WIDTH``; a number keeps its unit."""
    joined = re.sub(r"(\d) %", "\\1\u00a0%", text)
    lines = textwrap.wrap(
        joined, WIDTH, initial_indent=first, subsequent_indent=first if then is None else then
    )
    return [line.replace("\u00a0", " ") for line in lines]
