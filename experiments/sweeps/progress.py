"""A sweep's progress: one bar over all ensembles, and one line per finished ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tqdm import tqdm

from experiments.sweeps.cells import EnsembleJob
from experiments.sweeps.grid import show
from experiments.sweeps.results import Row
from relope_jax.training.fit import Fitted


class ProgressBar:
    """One bar over the epochs of all members of all ensembles; early stopping shortens it."""

    def __init__(self, jobs: Sequence[EnsembleJob]):
        self._jobs = list(jobs)
        self._bar = tqdm(total=sum(map(_epochs, jobs)), unit="epoch", disable=not jobs)
        self._before = 0

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, job: EnsembleJob, append: Callable[[Row], None]) -> Callable[[Row], None]:
        """A log function that passes records on and advances the bar."""
        best: dict[int, float] = {}
        self._bar.set_postfix_str("", refresh=False)
        self._bar.set_description(f"{self._jobs.index(job) + 1}/{len(self._jobs)} {self._title(job)}")

        def log(record: Row) -> None:
            append(record)
            best[record["member"]] = max(best.get(record["member"], 0.0), record["validation_auc"])
            self._bar.set_postfix(best_auc=f"{sum(best.values()) / len(best):.3f}", refresh=False)
            self._bar.update(self._before + record["epoch"] * len(job.cells) - self._bar.n)

        return log

    def end(self, job: EnsembleJob, fitted: Fitted, seconds: float) -> None:
        """Advance the bar to the end of the ensemble, and print its result."""
        self._before += _epochs(job)
        self._bar.update(self._before - self._bar.n)
        low, high = fitted.best_auc.min(), fitted.best_auc.max()
        tqdm.write(f"{self._title(job)}: {seconds:.1f} s, validation AUC {low:.3f} to {high:.3f}")

    @staticmethod
    def _title(job: EnsembleJob) -> str:
        """A title for the ensemble, with the swept values that its members share."""
        cells = list(job.cells.values())
        shared = set.intersection(*(set(cell.values) for cell in cells))
        values = [f"{field} {show(value)}" for field, value in cells[0].values if (field, value) in shared]
        return ", ".join([f"{job.method.title} x {len(cells)}", *values])


def _epochs(job: EnsembleJob) -> int:
    return len(job.cells) * job.members[0].train.epochs
