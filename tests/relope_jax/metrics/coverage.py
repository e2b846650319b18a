"""Simulated coverage of 95% AUC intervals, and how often a true null is rejected, with known truth.

python -m tests.relope_jax.metrics.coverage     # the tables of docs/results/coverage.md, about a minute
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import norm

from relope_jax.metrics.auc import AUC, delong
from relope_jax.metrics.summary import auc_difference


@dataclasses.dataclass(frozen=True)
class Case:
    """Normal scores whose means differ by class, with a component shared by the questions of a group."""

    wrong: int
    auc: float
    questions: int = 150
    group: int = 3
    shared: float = 0.5  # share of the variance common to a group

    @property
    def groups(self) -> np.ndarray:
        return np.arange(self.questions) // self.group

    def labels(self, rng: np.random.Generator) -> np.ndarray:
        """The given number of wrong answers at random positions."""
        labels = np.ones(self.questions, np.int64)
        labels[rng.choice(self.questions, self.wrong, replace=False)] = 0
        return labels

    def scores(self, rng: np.random.Generator, labels: np.ndarray, draws: int) -> np.ndarray:
        """`draws` independent score vectors."""
        groups = rng.normal(size=(draws, self.groups[-1] + 1))[:, self.groups]
        own = rng.normal(size=(draws, self.questions))
        return lead(self.auc) * labels + np.sqrt(self.shared) * groups + np.sqrt(1 - self.shared) * own

    def truth(self, labels: np.ndarray) -> float:
        """The expected AUC for these labels: pairs within a group have no shared component."""
        same = self.groups[labels == 1][:, None] == self.groups[labels == 0][None]
        within = norm.cdf(lead(self.auc) / np.sqrt(2 * (1 - self.shared)))
        return float(same.mean() * within + (1 - same.mean()) * self.auc)


def lead(auc: float) -> float:
    """The distance between the means of two unit-variance normal scores with this AUC."""
    return np.sqrt(2) * norm.ppf(auc)


def coverage(case: Case, draws: int, designs: int = 4, seed: int = 0) -> float:
    """The share of intervals that cover the truth, over several placements of the wrong answers."""
    rng = np.random.default_rng(seed)
    covered = []
    for _ in range(designs):
        labels = case.labels(rng)
        low, high = delong(case.scores(rng, labels, draws // designs), labels, case.groups).interval()
        covered.append((low <= case.truth(labels)) & (case.truth(labels) <= high))
    return float(np.mean(covered))


@dataclasses.dataclass(frozen=True)
class Found:
    """Shares of draws: intervals that cover the truth, and true nulls rejected at 5%."""

    covered: float
    rejected: float


def few_wrong(auc: float, wrong: float = 5.5, questions: int = 100, draws: int = 4000, seed: int = 0) -> Found:
    """Single questions, `wrong` of them wrong on average, two equally good routers whose scores are half the same."""
    rng, groups = np.random.default_rng(seed), np.arange(questions)
    rows = []
    while len(rows) < draws:
        labels = (rng.uniform(size=questions) >= wrong / questions).astype(np.int64)
        if questions - labels.sum() < 2:
            continue  # then there are no intervals
        shared, own = rng.normal(size=questions), rng.normal(size=(2, questions))
        scores = lead(auc) * labels + np.sqrt(0.5) * (shared + own)
        rows.append(_holds(delong(scores, labels, groups), auc))
    covered, rejected = np.mean(rows, axis=0)
    return Found(covered, rejected)


def _holds(found: AUC, truth: float) -> tuple[bool, bool]:
    low, high = (limits[0] for limits in found.interval())
    p = auc_difference(found, ["a", "b"], "a", "b").p
    return low <= truth <= high, p < 0.05


def main() -> None:
    """Print both tables."""
    print("| wrong answers | AUC | single questions | groups of 3 | groups of 3, more alike |\n|---|---|---|---|---|")
    for wrong in (5, 10, 15, 20, 40):
        for auc in (0.6, 0.75, 0.9, 0.95):
            cases = (Case(wrong, auc, group=1, shared=0.0), Case(wrong, auc), Case(wrong, auc, shared=0.8))
            print(f"| {wrong} | {auc} | " + " | ".join(f"{coverage(case, 4000):.1%}" for case in cases) + " |")
    print("\n| AUC | covered | true null rejected |\n|---|---|---|")
    for auc in (0.7, 0.8, 0.9):
        found = few_wrong(auc)
        print(f"| {auc} | {found.covered:.1%} | {found.rejected:.1%} |")


if __name__ == "__main__":
    main()
