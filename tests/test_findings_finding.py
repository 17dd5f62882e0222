import math

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy import stats

from vaelib.results.findings import DEPENDS, FAILS, HOLDS, OPEN, Estimate, Finding, told
from vaelib.results.findings.finding import (
    FEW,
    Undecided,
    at_dims,
    brackets,
    by_case,
    case_names,
    change,
    compared,
    extremes,
    finding,
    measured,
    nats,
    paired,
    percent,
    points,
    tally,
    verdict_of,
)


def table(seeds=(0, 1, 2), **columns):
    """A row for each run: a column gives the value or the values by seed of each (arch, latent_dim)."""
    cases = dict.fromkeys(case for values in columns.values() for case in values)
    rows = [
        {"arch": arch, "latent_dim": d, "seed": seed}
        | {
            name: values[arch, d] if np.isscalar(values[arch, d]) else values[arch, d][i]
            for name, values in columns.items()
            if (arch, d) in values
        }
        for arch, d in cases
        for i, seed in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def wide(value):
    """Three seeds so far apart that they decide nothing near their mean."""
    return [value - 5, value + 5, value]


def interval_of(values, digits=2, sign=False):
    """The mean of values and its 95 % interval in brackets, by scipy alone."""
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{np.mean(values):{form}}", f"({low:{form}} to {high:{form}})"


def estimate(low, high, n=3):
    return Estimate((low + high) / 2, low, high, n)


def test_an_estimate_is_students():
    values = [1.0, 2.5, 4.5, 3.0]
    found = Estimate.of([*values, np.nan])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((2.75, expected.low, expected.high, 4))


def test_values_that_do_not_differ_leave_no_doubt():
    assert Estimate.of([0.3] * 3) == Estimate.given(0.3, np.nan, np.nan, 3) == Estimate(0.3, 0.3, 0.3, 3)
    assert np.isnan(Estimate.of([0.3]).low)
    assert Estimate.of([np.nan]).n == 0


@pytest.mark.parametrize(
    ("low", "high", "margin", "n", "expected"),
    [
        (0.1, 2, 0, 3, True),
        (0, 2, 0, 3, None),  # It just touches.
        (-2, 0, 0, 3, False),
        (-1, 1, 0, 3, None),
        (0.1, 0.4, 0.5, 3, False),  # Shown to be above, and to be too little to count.
        (-1, 0.5, 0.5, 3, False),
        (-1, 0.51, 0.5, 3, None),
        (0.1, 0.51, 0.5, 3, True),
        (0.1, 2, 0, 2, None),
    ],
)
def test_a_value_is_above_a_bound_where_its_interval_is(low, high, margin, n, expected):
    assert estimate(low, high, n).above(0, margin) is expected
    assert estimate(-high, -low, n).below(0, margin) is expected
    assert estimate(low + 7, high + 7, n).above(7, margin) is expected


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (-0.5, 0.5, 3, True),
        (-0.4, 0.3, 2, None),
        (-0.4, 0.6, 3, None),
        (0.5, 0.6, 3, None),
        (0.51, 0.6, 3, False),
        (-2, -0.6, 3, False),
    ],
)
def test_a_difference_is_within_a_bound_where_its_interval_is(low, high, n, expected):
    assert estimate(low, high, n).within(0.5) is expected


def test_estimates_are_told_with_their_interval():
    assert nats(estimate(96.4, 96.7)) == "96.55 nats (96.40 to 96.70)"
    assert change(estimate(-2.5, -1.3)) == "-1.90 nats (-2.50 to -1.30)"
    assert change(Estimate(-0.001, -0.004, 0.004, 3)) == "0.00 nats (0.00 to 0.00)"
    assert percent(estimate(0.938, 0.944)) == "94.1 % (93.8 to 94.4)"
    assert points(estimate(0.01, 0.03)) == "+2.0 percentage points (+1.0 to +3.0)"
    assert percent(Estimate.of([0.5])) == "50.0 %"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([3, 3], "Brackets: 95 % interval, n = 3 seeds."),
        ([5, 3], "Brackets: 95 % interval, n = 3 to 5 seeds."),
        ([2, 3], "Brackets: 95 % interval, n = 2 to 3 seeds. Fewer than 3 seeds decide nothing."),
        ([1], "n = 1 seed. Fewer than 3 seeds decide nothing."),
    ],
)
def test_what_brackets_hold_is_said_once(counts, expected):
    assert brackets(estimate(0, 1, n) for n in counts) == expected


@pytest.mark.parametrize(
    ("truths", "verdict", "words"),
    [
        ([True, True, True], HOLDS, "in all 3 models"),
        ([True, True], HOLDS, "in both models"),
        ([True], HOLDS, "in 1 of 1 model"),
        ([False, False], FAILS, "in none of 2 models"),
        ([True, False, None], DEPENDS, "in 1 of 3 models (not decided in 1)"),
        ([True, None], OPEN, "in 1 of 2 models (not decided in 1)"),
        ([False, None], OPEN, "in none of 2 models (not decided in 1)"),
        ([], OPEN, "in none of 0 models"),
    ],
)
def test_cases_make_a_verdict(truths, verdict, words):
    assert verdict_of(iter(truths)) == verdict
    assert tally(truths) == words


def test_dimensions_are_named_where_something_is_so():
    assert at_dims({2: True, 3: False, 5: True, 10: None}) == "at d = 2 and 5 (not decided at d = 10)"
    assert at_dims({2: False}) == "at no d"


def test_models_are_named_by_architecture():
    cases = [("linear", 2), ("conv", 3), ("linear", 5), ("linear", 10), ("own", 2)]
    assert case_names(cases) == (
        "the fully connected models at d = 2, 5 and 10, the convolutional model at d = 3 and the own model at d = 2"
    )


def test_extremes_are_the_least_and_the_largest_mean():
    cases = {2: estimate(1, 3), 10: estimate(-4, -2), 50: estimate(0, 1)}
    assert extremes(cases, change) == (
        "between -3.00 nats (-4.00 to -2.00) at d = 10 and +2.00 nats (+1.00 to +3.00) at d = 2"
    )
    assert (
        extremes({("conv", 2): estimate(1, 3)}, nats) == "2.00 nats (1.00 to 3.00) in the convolutional model at d = 2"
    )


def test_seeds_are_paired_in_any_order_and_where_both_have_them():
    rows = table(x={("linear", 2): [1.0, 2, 4], ("linear", 10): [0.5, 1, 1]}).sample(frac=1, random_state=1)
    found = paired(rows, "x", "latent_dim", 10, 2)
    expected = stats.ttest_1samp([-0.5, -1, -3], 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((-1.5, expected.low, expected.high))
    assert paired(rows[(rows.seed != 2) | (rows.latent_dim == 2)], "x", "latent_dim", 10, 2).n == 2
    assert paired(rows, "x", "latent_dim", 10, 50).n == 0


def test_a_case_without_values_is_left_out():
    rows = table(x={("linear", 2): 1.0, ("conv", 2): np.nan}, y={("linear", 2): 0.25, ("conv", 2): 1.0})
    assert by_case(rows, "x") == {("linear", 2): Estimate(1, 1, 1, 3)}
    assert by_case(rows, "x", less="y") == {("linear", 2): Estimate(0.75, 0.75, 0.75, 3)}
    with pytest.raises(Undecided, match="share a seed"):
        compared({2: Estimate.of([])})


ROWS = table(
    x={("linear", 2): [1.0, np.nan, 3]}, y={("linear", 2): [np.nan] * 3}, z={("linear", 2): [np.nan, 2, np.nan]}
)


@pytest.mark.parametrize(
    ("rows", "columns", "why"),
    [
        (None, [], "this edition has no runs for it"),
        (ROWS[:0], [], "this edition has no runs for it"),
        (ROWS, ["x", "y", "w"], "no measured `y` and `w`"),
        (ROWS, ["x", "z"], "no run has all of `x` and `z`"),
    ],
)
def test_a_table_that_decides_nothing_says_why(rows, columns, why):
    with pytest.raises(Undecided, match=why):
        measured(rows, columns)


def test_a_finding_has_its_claim_and_criterion_from_the_docstring():
    @finding("grid-terms")
    def found(decides):
        """It is
        so.

        Holds where it is.

        decides says whether.
        """
        if not decides:
            raise Undecided("it takes more")
        return HOLDS, "It is."

    assert found(True) == Finding("It is so.", "Holds where it is.", HOLDS, "It is.", "grid-terms")
    assert found(False) == Finding("It is so.", "Holds where it is.", OPEN, "Not decided: it takes more.", "grid-terms")


def said(*sentences):
    return [Finding("A.", "Where a.", HOLDS, text, "x-y") for text in sentences]


def test_findings_become_a_list():
    assert told(said("It is a.", "It is b.")) == "- It is a.\n- It is b."
    assert told([]) == ""


def test_a_note_that_all_sentences_share_stands_once_below_them():
    note = brackets([Estimate(1, 0, 2, 3)])
    assert told(said(f"It is a. {note}", f"It is b. {note}")) == f"- It is a.\n- It is b.\n\n{note}"
    few = brackets([Estimate(1, math.nan, math.nan, 1)])
    assert told(said(f"It is a. {few}", f"It is b. {few}")) == f"- It is a.\n- It is b.\n\n{few}"
    assert told(said(f"It is a. {note}", f"It is b. {few}")) == f"- It is a. {note}\n- It is b. {few}"
    assert told(said(f"It is a. {note}")) == f"- It is a. {note}"
    assert told(said(f"It is a. {few}", f"It is b. {FEW}")) == f"- It is a.\n- It is b.\n\n{few}"
    assert told(said("It is a.", f"It is b. {FEW}")) == f"- It is a.\n- It is b. {FEW}"


def test_of_too_few_seeds_nothing_is_decided():
    @finding("grid-terms")
    def found(rows):
        """It is so.

        Holds where it is.
        """
        return HOLDS, f"It is {rows.x.mean():.0f}."

    rows = table(x={("linear", 2): [1.0, 2, 3]})
    assert found(rows).verdict == HOLDS
    assert found(rows[:2]) == Finding("It is so.", "Holds where it is.", OPEN, f"It is 2. {FEW}", "grid-terms")


def test_the_example_of_contributing_is_a_finding():
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## A finding\n")[1].split("\n## ")[0]
    code = section.split("```python\n")[1].split("```")[0]
    names = {}
    exec("from vaelib.results.findings import *\nfrom vaelib.results.findings.finding import *\n" + code, names)
    found = names["gap_is_small"](table(gap_nats={("linear", 2): [2.0, 2.1, 2.2], ("linear", 10): [5.0, 5.1, 5.2]}))
    assert found.verdict == DEPENDS
    assert found.where == "bound-gains"
    assert "2.10 nats" in found.sentence
