"""Agreement of the graders with published verdicts, and their speed; given a commit, also for its graders.

    python tests/extract/grading/agreement.py            # the graders of this checkout
    python tests/extract/grading/agreement.py f454025    # the same, and first those of that commit

The recorded answers are in ../shared/data, next to the checkout. `--library` compares this checkout's equality of
mathematical answers with math-verify (pip install math-verify) on all pairs of reference and extracted answer.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT

DATA = ROOT / "../shared/data"
sys.path.append(str(ROOT))  # after PYTHONPATH, which may have another commit's graders
MODELS = ("LLaVA-v1.5-13B", "LLaVA-v1.5-7B", "InternLM-XComposer2-VL", "Qwen-VL-Plus")


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def cases() -> Iterator[tuple[str, object, object, str, bool]]:
    """The name of the measurement, the grader, the sample, the response and the published verdict."""
    from extract.grading import mathvision, mmmu
    from extract.sample import Sample

    problems = {
        row["id"]: Sample(row["id"], "", row["question"], row["answer"], (), tuple(row["options"]))
        for row in rows("mathvision/test.jsonl")
    }
    for model in MODELS:
        for row in rows(f"mathvision/outputs/{model}.jsonl"):
            for field, name in (("model_answer", "extracted"), ("response", "raw")):
                yield f"MathVision, {model}, {name}", mathvision, problems[row["id"]], row[field], row["correct"]
    for row in rows("mmmu/gpt4o_pro_cot_400.jsonl"):
        sample = Sample(row["id"], "", "", row["answer"], (), tuple(map(str, ast.literal_eval(row["options"]))))
        yield "MMMU-Pro, GPT-4o", mmmu, sample, row["response"], row["if_right"]


def measure() -> None:
    """Print one line per model: agreement, how many verdicts differ, milliseconds per response."""
    counts: dict[str, list[float]] = {}
    for name, grader, sample, response, verdict in cases():
        start = time.perf_counter()
        agrees = grader.grade(sample, response) == verdict
        row = counts.setdefault(name, [0, 0, 0.0])
        row[0] += agrees
        row[1] += 1
        row[2] += time.perf_counter() - start
    for name, (agree, total, seconds) in counts.items():
        print(f"{name}: {100 * agree / total:.2f}%, {total - agree:.0f} differ, {1e3 * seconds / total:.2f} ms")


def measure_commit(commit: str) -> None:
    """The same for the graders of another commit, in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["git", "archive", commit, "extract", "relope_jax"]
        archive = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        environment = os.environ | {"PYTHONPATH": folder}
        subprocess.run([sys.executable, str(Path(__file__).resolve())], env=environment, cwd=folder, check=True)


def compare_with_library() -> None:
    """Print how often ours and math-verify call an extracted answer equal to its reference, and where they differ."""
    from math_verify import parse, verify

    from extract.grading.maths import maths

    def library(reference: str, answer: str) -> bool:
        sides = (parse(f"${text.strip().strip('$')}$", parsing_timeout=None) for text in (reference, answer))
        return bool(verify(*sides, timeout_seconds=None))

    problems = {row["id"]: row for row in rows("mathvision/test.jsonl")}
    pairs = {}
    for model in MODELS:
        for row in rows(f"mathvision/outputs/{model}.jsonl"):
            problem, answer = problems[row["id"]], row["model_answer"]
            options = problem["options"]
            reference = options[ord(problem["answer"]) - ord("A")] if options else problem["answer"]
            if 0 < len(answer) <= 200 and (len(answer) > 1 or not options):
                pairs[reference, answer] = row["correct"]
    for name, same in (("ours", maths.same), ("math-verify", library)):
        start = time.perf_counter()
        verdicts = {pair: same(*pair) for pair in pairs}
        pace = 1e3 * (time.perf_counter() - start) / len(pairs)
        right = sum(verdict == published for verdict, published in zip(verdicts.values(), pairs.values(), strict=True))
        print(f"{name}: {right} of {len(pairs)} as published, {pace:.2f} ms a pair")
        if name == "ours":
            ours = verdicts
    for pair, verdict in verdicts.items():
        if verdict != ours[pair]:
            print(f"  only {'math-verify' if verdict else 'ours'}: {pair[0]!r} = {pair[1]!r}")


if __name__ == "__main__":
    if "--library" in sys.argv:
        compare_with_library()
    else:
        for commit in sys.argv[1:]:
            print(f"commit {commit}")
            measure_commit(commit)
            print("this checkout")
        measure()
