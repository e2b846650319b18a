"""ChartQA's relaxed accuracy: numbers within 5 % of the reference, anything else equal without regard to case."""

from __future__ import annotations

from extract.grading.text import exact_match, normalise
from extract.sample import Sample

TOLERANCE = 0.05


def final_answer(sample: Sample, response: str) -> str:
    """The number or the words that the response settles on, or ""."""
    del sample
    text = _settled(response)
    number = _number(text)
    return normalise(text) if number is None else f"{number:.10g}"


def grade(sample: Sample, response: str) -> bool:
    """Whether the response, or what it settles on, is relaxedly equal to a reference."""
    candidates = (response.strip(), _settled(response))
    return any(relaxed(reference, text) for reference in (sample.answer, *sample.accepted) for text in candidates)


def relaxed(reference: str, text: str) -> bool:
    """The benchmark's rule; a percent sign divides by 100, and lists are compared element by element."""
    references, texts = _elements(reference), _elements(text)
    if references is not None and texts is not None:
        return len(references) == len(texts) and all(map(relaxed, references, texts))
    wanted, given = _number(reference), _number(text)
    if wanted is None or given is None:
        return bool(text) and (reference.strip().lower() == text.lower() or exact_match(text, reference))
    return abs(given - wanted) <= TOLERANCE * abs(wanted)


def _elements(text: str) -> list[str] | None:
    """The elements of "[a, b]", else None."""
    inside = re.fullmatch(r"\[(.+)\]", text.strip(), re.DOTALL)
    return [part.strip(" '\"") for part in inside[1].split(",")] if inside else None


def _number(text: str) -> float | None:
    """The number that a text is; besides the benchmark's notations with currency, separators of thousands and units."""
    match = re.fullmatch(r"(-?)[$€£]?\s*(-?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%?)\s*[A-Za-z]*\.?", text.strip())
    if match is None or not math.isfinite(value := float(match[2].replace(",", ""))):
        return None
    return (-value if match[1] else value) / (100 if match[3] else 1)


def _settled(response: str) -> str:
    """What the response announces, else the whole of a short one, else what its last sentence says to be."""
    text = readable(response)
    parts = sentences(text)
    if announced := statements(text):
        return _short((sentences(announced[0]) or [""])[0])
    if len(parts) < 2 and (len(text.split()) <= 4 or _elements(text)):
        return text
    last = parts[-1] if parts else ""
    if agreement := re.match(r"(yes|no)\b", last, re.IGNORECASE):
        return agreement[1]
    said = re.match(r".*\b(?:is|are|was|were|be|equals)\b\s+(.+)", last, re.DOTALL)
    return _short(said[1] if said else last)


def _short(text: str) -> str:
    """Only the number where a text starts with one or holds only one; a text without numbers as it is."""
    text = text.strip().rstrip(".")
    numbers = maths.spans(text)
    starts = re.match(r"\W*\d", text) is not None
    if _number(text) is not None or _elements(text) or not (starts and numbers or len(numbers) == 1):
        return text
    return numbers[0]
