"""The paper's reference values: AUC in percent, for other models and data than the suite's.

These values of arXiv 2603.24787 are from a secondary source without table or version. Check them against the paper
before you quote them. Every table and figure with a paper's number reads it from here.
"""

from __future__ import annotations

MODEL = "Qwen2.5-VL-7B on MMMU, A-OKVQA, ScienceQA, ChartQA and MathVision, from a secondary source"

TABLE2_AVERAGE = {"probe": 83.06, "attention_probe": 84.44, "relope": 88.21}  # Qwen2.5-VL-7B, mean of five benchmarks
CLAIM = ("relope", ("attention_probe", "probe"))  # the first is better than the others
TABLE1 = {"text": {"probe": 95.36}, "image": {"probe": 83.95}}  # ScienceQA; the small model is not stated


def share(percent: float | None) -> float | None:
    """AUC between 0 and 1."""
    return None if percent is None else percent / 100
