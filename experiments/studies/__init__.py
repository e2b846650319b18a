"""The paper's evaluation as studies: each defines the runs it needs and makes tables and figures from them.

A study is one file here, one line in `STUDIES` and one line in experiments/configs/names.json.
`python -m experiments.run --config=table2.py` runs one study, `--config=paper.py` runs all. Studies share their runs.
"""

from __future__ import annotations

from experiments.studies import figure2, figure3, table1, table2, table3, table4
from experiments.studies.study import Study
from relope_jax.errors import ReLopeError, nearest

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (table1.STUDY, table2.STUDY, table3.STUDY, table4.STUDY, figure2.STUDY, figure3.STUDY)
}
ALL = "paper"


def get_studies(name: str) -> list[Study]:
    """The study with that name, or all studies for "paper"."""
    if name == ALL:
        return list(STUDIES.values())
    if name not in STUDIES:
        raise ReLopeError(f"unknown study '{name}'{nearest(name, STUDIES)}; known: {ALL}, {', '.join(STUDIES)}")
    return [STUDIES[name]]
