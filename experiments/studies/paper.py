"""What the paper reports, as far as it is known here: AUC in percent, of other models and data than the suite's.

The paper (arXiv 2603.24787) could not be read while this was written; its abstract has no numbers. These come at second
hand, from a literature note of 2026-08-11 that cites them without table or version, and asks to look them up in the
paper before they are quoted. Put the paper's own numbers here where you have it: everything prints them.
"""

from __future__ import annotations

MODEL = "Qwen2.5-VL-7B on MMMU, A-OKVQA, ScienceQA, ChartQA and MathVision, at second hand"

TABLE2_AVERAGE = {"probe": 83.06, "attention_probe": 84.44, "relope": 88.21}  # Qwen2.5-VL-7B, mean of five benchmarks
CLAIM = ("relope", ("attention_probe", "probe"))  # the first is better than the others
TABLE1 = {"text": {"probe": 95.36}, "image": {"probe": 83.95}}  # ScienceQA; which small model is not said


def share(percent: float | None) -> float | None:
    """AUC between 0 and 1."""
    return None if percent is None else percent / 100
