"""What a finding is: a verdict and one plain sentence, computed from tables, right for whatever runs made them.

Tables have a row for each run, with arch, latent_dim and seed. Seeds are the unit: a difference counts as shown when
its 95 % interval over seeds, Student's t, lies on one side of what is asked.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vaelib.results.compare import interval

HALF_A_NAT = 0.5  # A difference in the negative ELBO that is shown to be smaller counts as none.
SEEDS = 3  # With fewer no finding is decided: two trainings may agree by chance.
HOLDS, FAILS, DEPENDS, OPEN = VERDICTS = ("holds", "does not hold", "depends", "not decided")
# What prose calls the architectures.
IN_WORDS = {"linear": "fully connected", "conv": "convolutional"}


@dataclass(frozen=True)
class Finding:
    """What was asked, what is the answer, and how that was decided.

    claim      what was asked, as a statement
    criterion  when it holds and when it does not
    verdict    one of VERDICTS
    sentence   the answer in Markdown, with its numbers, intervals and n
    reason     why nothing is decided although there are numbers; empty where there are seeds enough
    where      the figure or table that it rests on, as pages label them: chapter-name
    """

    claim: str
    criterion: str
    verdict: str
    sentence: str
    reason: str
    where: str


def finding(where: str) -> Callable:
    """Makes a function of tables that returns a verdict and a sentence into one that returns a Finding.

    The first paragraph of the function's docstring is the claim, the second the criterion. Of too few seeds the
    sentence has the numbers all the same, and the verdict is that nothing is decided.
    """

    def decorate(function: Callable[..., tuple[str, str]]) -> Callable[..., Finding]:
        claim, criterion, *_ = (" ".join(part.split()) for part in inspect.getdoc(function).split("\n\n"))

        @functools.wraps(function)
        def found(*args, **kwargs) -> Finding:
            verdict, sentence = function(*args, **kwargs)
            if verdict not in VERDICTS:
                raise ValueError(f"verdict {verdict!r}: accepted is one of {', '.join(VERDICTS)}")
            tables = [table for table in (*args, *kwargs.values()) if isinstance(table, pd.DataFrame)]
            few = too_few(min(map(seeds_of, tables), default=SEEDS))
            return Finding(claim, criterion, OPEN if few else verdict, sentence, few, where)

        return found

    return decorate


def seeds_of(table: pd.DataFrame) -> int:
    """Over how many seeds a table is, of runs or of differences with their n."""
    if table.empty:
        return SEEDS  # It decides nothing, for want of runs and not of seeds.
    if "seed" in table:
        return table.seed.nunique()
    return int(table.n.where(table.over == "seeds", 1).min() if "over" in table else table.n.min())


def too_few(seeds: int) -> str:
    """Why so many seeds decide nothing; empty where they are enough."""
    if seeds >= SEEDS:
        return ""
    return f"Not decided: {counted(seeds, 'seed')} cannot tell models from trainings; {SEEDS} or more decide it."


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds with its 95 % interval, whose ends are nan where there is one seed."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Estimate":
        """The estimate of values, one of each seed; those that are missing are left out."""
        values = np.array([value for value in values if not math.isnan(value)], dtype=float)
        if not len(values):
            return cls(math.nan, math.nan, math.nan, 0)
        low, high = interval(values)
        if len(values) > 1 and math.isnan(low):  # Values that do not differ have no spread, and leave no doubt.
            low = high = values.mean()
        return cls(values.mean(), low, high, len(values))

    def above(self, bound: float, margin: float = 0.0) -> bool | None:
        """Whether the value is shown to lie above a bound: True or False where the interval says so, else None.

        With a margin False means that it is shown to lie less than the margin above the bound.
        """
        if math.isnan(self.low):
            return None
        if self.low > bound:
            return True
        return False if self.high <= bound + margin else None

    def below(self, bound: float, margin: float = 0.0) -> bool | None:
        """Whether the value is shown to lie below a bound; see above."""
        return Estimate(-self.mean, -self.high, -self.low, self.n).above(-bound, margin)

    def over(self, whole: float) -> "Estimate":
        """The estimate as a share of a number."""
        return Estimate(self.mean / whole, self.low / whole, self.high / whole, self.n)

    def text(self, digits: int = 2, sign: bool = False, unit: str = "") -> str:
        """``-1.93 nats (-2.55 to -1.31, n = 3)``: the mean with its interval and n."""
        form = f"{'+' if sign else ''}.{digits}f"
        value = f"{self.mean:{form}}{unit}"
        if math.isnan(self.low):
            return f"{value} (n = {self.n})"
        return f"{value} ({self.low:{form}} to {self.high:{form}}, n = {self.n})"


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


def within(case: Estimate, bound: float) -> bool | None:
    """Whether a difference is shown to be smaller than the bound, either way."""
    if math.isnan(case.low):
        return None
    if -bound < case.low and case.high < bound:
        return True
    return False if case.low > bound or case.high < -bound else None


def by_case(table: pd.DataFrame, column: str) -> dict[tuple[str, int], Estimate]:
    """The estimate of a column for each (arch, latent_dim), over seeds."""
    return {case: Estimate.of(own[column]) for case, own in table.groupby(["arch", "latent_dim"], sort=False)}


def paired(table: pd.DataFrame, column: str, by: str, more, less) -> Estimate:
    """A column where ``by`` is ``more``, minus where it is ``less``, seed by seed."""
    values = table.pivot_table(index="seed", columns=by, values=column)
    missing = {more, less} - set(values)
    return Estimate.of([] if missing else (values[more] - values[less]).dropna())


def lacking(table: pd.DataFrame | None, columns: Sequence[str] = ()) -> str:
    """Why a table decides nothing, as the sentence of a finding that is not decided; empty where it can decide."""
    if table is None or table.empty:
        return "Not decided: this edition has no runs for it."
    if missing := [column for column in columns if column not in table or table[column].isna().all()]:
        return f"Not decided: {listed(f'`{name}`' for name in missing)} was not measured of these runs."
    return ""


def listed(items: Iterable) -> str:
    """``2, 3 and 5``."""
    *most, last = [str(item) for item in items]
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def case_name(case: tuple[str, int]) -> str:
    """``convolutional, d = 10`` of (arch, latent_dim)."""
    return f"{named(case[0])}, d = {case[1]}"


def best_case(cases: dict, least: bool) -> tuple:
    """The case of the least or the largest mean, and its estimate."""
    case = (min if least else max)(cases, key=lambda one: cases[one].mean)
    return case, cases[case]


def named(arch: str) -> str:
    """What prose calls an architecture."""
    return IN_WORDS.get(arch, arch)


def extremes(cases: dict[int, Estimate], digits: int = 2, sign: bool = True, unit: str = " nats") -> str:
    """The smallest and the largest of estimates by latent_dim: ``-2.4 nats (...) at d = 10 to -0.7 (...) at d = 2``."""
    order = sorted(cases, key=lambda latent_dim: cases[latent_dim].mean)
    ends = dict.fromkeys([order[0], order[-1]])
    return " to ".join(f"{cases[d].text(digits, sign, unit)} at d = {d}" for d in ends)


def told(findings: Sequence[Finding]) -> str:
    """Findings as a list in Markdown, a sentence each, as a chapter opens with them; at the end why some are open."""
    reasons = dict.fromkeys(one.reason for one in findings if one.reason)
    return "\n".join(f"- {text}" for text in [*(one.sentence for one in findings), *reasons])


def verdict_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """A row for each finding: claim, verdict, sentence, criterion."""
    rows = [
        {
            "claim": f.claim,
            "verdict": f.verdict,
            "what was found": f"{f.sentence} {f.reason}".strip(),
            "decided by": f.criterion,
        }
        for f in findings
    ]
    return pd.DataFrame(rows, index=range(1, len(rows) + 1))
