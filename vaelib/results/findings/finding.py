"""What a finding is: a verdict and one plain sentence, computed from tables, right for whatever runs made them.

Tables have a row for each run, with arch, latent_dim and seed. Seeds are the unit: a difference counts as shown when
its 95 % interval over seeds, Student's t, lies on one side of what is asked.
"""

import functools
import inspect
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vaelib.results.compare import interval

HALF_A_NAT = 0.5  # A difference in the negative ELBO that is shown to be no larger counts as none.
SEEDS = 3  # With fewer no finding is decided: two trainings may agree by chance.
FEW = f"Fewer than {SEEDS} seeds decide nothing."
HOLDS, FAILS, DEPENDS, OPEN = VERDICTS = ("holds", "does not hold", "depends", "not decided")
# What a finding's sentence ends with that is of its runs: what brackets() says, and that there are too few seeds.
NOTE = re.compile(r"( (Brackets: 95 % interval, )?n = [^.]*\.)?( Fewer [^.]*\.)?$")
# What prose calls the architectures.
IN_WORDS = {"linear": "fully connected", "conv": "convolutional", "convbn": "batch-normalised convolutional"}


@dataclass(frozen=True)
class Finding:
    """What was asked, what is the answer, and how that was decided.

    claim      what was asked, as a statement
    criterion  when it holds and when it does not
    verdict    one of VERDICTS
    sentence   the answer in Markdown, with its numbers, intervals and n
    where      the figure or table that it rests on, as pages label them: chapter-name
    """

    claim: str
    criterion: str
    verdict: str
    sentence: str
    where: str


class Undecided(Exception):
    """Raised within a finding where its tables decide nothing; the text says why, and the finding is *not decided*."""


def finding(where: str) -> Callable:
    """Makes a function of tables that returns a verdict and a sentence into one that returns a Finding.

    The first paragraph of the function's docstring is the claim, the second the criterion; both stand on a page.
    Of runs of too few seeds the sentence has the numbers, and nothing is decided.
    """

    def decorate(function: Callable[..., tuple[str, str]]) -> Callable[..., Finding]:
        claim, criterion, *_ = (" ".join(part.split()) for part in inspect.getdoc(function).split("\n\n"))

        @functools.wraps(function)
        def found(*args, **kwargs) -> Finding:
            try:
                verdict, sentence = function(*args, **kwargs)
            except Undecided as why:
                verdict, sentence = OPEN, f"Not decided: {why}."
            tables = [
                table for table in (*args, *kwargs.values()) if isinstance(table, pd.DataFrame) and "seed" in table
            ]
            if any(table.seed.nunique() < SEEDS for table in tables):
                verdict, sentence = OPEN, sentence if FEW in sentence else f"{sentence} {FEW}"
            return Finding(claim, criterion, verdict, sentence, where)

        return found

    return decorate


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds with its 95 % interval, whose ends are nan where there is one seed."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def given(cls, mean: float, low: float, high: float, n: int) -> "Estimate":
        """The estimate of a mean and an interval; several values that do not differ have nan there, and no doubt."""
        return cls(mean, mean, mean, n) if n > 1 and math.isnan(low) else cls(mean, low, high, n)

    @classmethod
    def of(cls, values: Iterable[float]) -> "Estimate":
        """The estimate of values, one of each seed; those that are missing are left out."""
        values = np.array([value for value in values if not math.isnan(value)], dtype=float)
        return cls.given(values.mean(), *interval(values), len(values)) if len(values) else cls(*[math.nan] * 3, 0)

    def above(self, bound: float, margin: float = 0.0) -> bool | None:
        """Whether the value is shown to lie above a bound: True or False where the interval says so, else None.

        With a margin False means that it is shown to lie at most the margin above the bound. Fewer than SEEDS values
        show nothing.
        """
        if self.n < SEEDS:
            return None
        if self.high <= bound + margin:
            return False
        return True if self.low > bound else None

    def below(self, bound: float, margin: float = 0.0) -> bool | None:
        """Whether the value is shown to lie below a bound; see above."""
        return Estimate(-self.mean, -self.high, -self.low, self.n).above(-bound, margin)

    def within(self, bound: float) -> bool | None:
        """Whether a difference is shown to be no larger than the bound, either way; None where it is not decided."""
        if self.n < SEEDS:
            return None
        if -bound <= self.low and self.high <= bound:
            return True
        return False if self.low > bound or self.high < -bound else None

    def over(self, whole: float) -> "Estimate":
        """The estimate as a share of a number above 0."""
        return Estimate(self.mean / whole, self.low / whole, self.high / whole, self.n)

    def text(self, digits: int = 2, sign: bool = False, unit: str = "") -> str:
        """``-1.93 nats (-2.55 to -1.31)``: the mean and its interval; brackets() says what the brackets hold."""
        form = f"{'+' if sign else ''}.{digits}f"
        # A number that rounds to 0 has no sign.
        mean, low, high = (f"{value:{form}}" if round(value, digits) else f"{0:.{digits}f}" for value in self._ends())
        return f"{mean}{unit}" if math.isnan(self.low) else f"{mean}{unit} ({low} to {high})"

    def _ends(self) -> tuple[float, float, float]:
        return self.mean, self.low, self.high


def percent(estimate: Estimate, digits: int = 1, sign: bool = False) -> str:
    """``94.1 % (93.8 to 94.4)`` of an estimate of a share."""
    return estimate.over(0.01).text(digits, sign, " %")


def points(estimate: Estimate) -> str:
    """``+1.2 percentage points (+0.9 to +1.5)`` of a difference of two shares."""
    return estimate.over(0.01).text(1, True, " percentage points")


def brackets(estimates: Iterable[Estimate]) -> str:
    """The sentence that ends a finding: what its brackets hold, and of how many seeds."""
    counts = sorted({estimate.n for estimate in estimates})
    seeds = counted(counts[-1], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    text = f"Brackets: 95 % interval, n = {seeds}." if counts[-1] > 1 else f"n = {seeds}."
    return text if counts[0] >= SEEDS else f"{text} {FEW}"


def verdict_of(truths: Iterable[bool | None]) -> str:
    """The verdict on a claim about several cases: holds in all, in none, in some, or not decided.

    A case that is not decided leaves the whole open, unless others already contradict each other.
    """
    truths = list(truths)
    if True in truths and False in truths:
        return DEPENDS
    if not truths or None in truths:
        return OPEN
    return HOLDS if truths[0] else FAILS


def negated(truth: bool | None) -> bool | None:
    """The opposite, of what is decided."""
    return None if truth is None else not truth


def measured(table: pd.DataFrame | None, columns: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a table that have all of the columns; Undecided where there is none."""
    if table is None or table.empty:
        raise Undecided("this edition has no runs for it")
    if missing := [column for column in columns if column not in table or table[column].isna().all()]:
        raise Undecided(f"these runs have no measured {listed(f'`{name}`' for name in missing)}")
    rows = table.dropna(subset=list(columns))
    if rows.empty:
        raise Undecided(f"no run has all of {listed(f'`{name}`' for name in columns)}")
    return rows


def both_architectures(table: pd.DataFrame):
    """Undecided where fully connected or convolutional models are missing."""
    if not {"linear", "conv"} <= set(table.arch):
        raise Undecided("it takes fully connected and convolutional models")


def by_case(table: pd.DataFrame, column: str, less: str = "") -> dict[tuple[str, int], Estimate]:
    """The estimate of a column, or of it minus another of the same run, for each (arch, latent_dim), over seeds."""
    values = table[column] - table[less] if less else table[column]
    keys = [table.arch, table.latent_dim]
    return compared({case: Estimate.of(own) for case, own in values.groupby(keys, sort=False)})


def paired(table: pd.DataFrame, column: str, by: str, more, less) -> Estimate:
    """A column where ``by`` is ``more``, minus where it is ``less``, seed by seed; n is 0 where no seed has both."""
    ours, theirs = (table[table[by] == value].groupby("seed")[column].mean() for value in (more, less))
    return Estimate.of(ours - theirs)


def compared(cases: dict[Hashable, Estimate]) -> dict:
    """The estimates that rest on a seed at least; Undecided where none does."""
    if not (known := {case: estimate for case, estimate in cases.items() if estimate.n}):
        raise Undecided("no two of the runs that it compares share a seed")
    return known


def listed(items: Iterable) -> str:
    """``2, 3 and 5``."""
    *most, last = [str(item) for item in items]
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def tally(truths: Iterable[bool | None], noun: str = "model", before: str = "in") -> str:
    """``in all 10 models``, ``in 7 of 10 models (not decided in 2)``, ``in none of 3 models``."""
    truths = list(truths)
    yes, unknown, cases = truths.count(True), truths.count(None), counted(len(truths), noun)
    if yes == len(truths) > 1:
        return f"{before} both {noun}s" if yes == 2 else f"{before} all {cases}"
    text = f"{before} {yes or 'none'} of {cases}"
    return f"{text} (not decided {before} {unknown})" if unknown else text


def at_dims(truths: Mapping[int, bool | None]) -> str:
    """``at d = 2, 3 and 5 (not decided at d = 10)``, by latent_dim."""
    shown, unknown = ([d for d, truth in truths.items() if truth is wanted] for wanted in (True, None))
    text = f"at d = {listed(shown)}" if shown else "at no d"
    return f"{text} (not decided at d = {listed(unknown)})" if unknown else text


def named(arch: str) -> str:
    """What prose calls an architecture."""
    return IN_WORDS.get(arch, arch)


def case_name(case: tuple[str, int]) -> str:
    """``the convolutional model at d = 10`` of (arch, latent_dim)."""
    return f"the {named(case[0])} model at d = {case[1]}"


def case_names(cases: Iterable[tuple[str, int]]) -> str:
    """``the fully connected models at d = 2 and 5 and the convolutional model at d = 3``."""
    dims = {}
    for arch, latent_dim in cases:
        dims.setdefault(arch, []).append(latent_dim)
    return listed(
        f"the {named(arch)} model{'s' if len(own) > 1 else ''} at d = {listed(own)}" for arch, own in dims.items()
    )


def best_case(cases: Mapping[Hashable, Estimate], least: bool) -> tuple:
    """The case of the least or the largest mean, and its estimate."""
    case = (min if least else max)(cases, key=lambda one: cases[one].mean)
    return case, cases[case]


def extremes(cases: Mapping[Hashable, Estimate], say: Callable[[Estimate], str]) -> str:
    """The least and the largest of estimates, by latent_dim or by (arch, latent_dim), each said by a function.

    ``between -2.40 nats (...) at d = 10 and -0.70 nats (...) at d = 2``
    """
    ends = {}
    for least in (True, False):
        case, estimate = best_case(cases, least)
        place = f"in {case_name(case)}" if isinstance(case, tuple) else f"at d = {case}"
        ends[case] = f"{say(estimate)} {place}"
    return f"between {' and '.join(ends.values())}" if len(ends) > 1 else next(iter(ends.values()))


def nats(estimate: Estimate) -> str:
    """``96.54 nats (96.43 to 96.65)``."""
    return estimate.text(unit=" nats")


def change(estimate: Estimate) -> str:
    """``-1.93 nats (-2.55 to -1.31)``, with its sign."""
    return estimate.text(sign=True, unit=" nats")


def told(findings: Sequence[Finding]) -> str:
    """Findings as a list in Markdown, as a chapter opens with them; the note that all of them share stands below."""
    texts = [one.sentence for one in findings]
    notes = [NOTE.search(text)[0] for text in texts]
    shared = max(notes, key=len, default="")
    if len(texts) < 2 or not all(note and shared.endswith(note) for note in notes):
        return "\n".join(f"- {text}" for text in texts)
    lines = [f"- {text.removesuffix(note)}" for text, note in zip(texts, notes, strict=True)]
    return "\n".join(lines) + f"\n\n{shared.strip()}"
