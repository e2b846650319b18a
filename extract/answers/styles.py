"""The prompts under which a question is asked, and where each one's answer ends up in the response."""

from __future__ import annotations

import re

DIRECT, STEPS = "direct", "steps"
STYLES = {
    DIRECT: "{prompt}",
    STEPS: "{prompt}\nThink step by step. Then write the final answer on a last line of its own: Answer: ...",
}
_ANSWER = re.compile(r"answer\s*:[ \t*]*(?P<answer>[^\n]*)", re.IGNORECASE)


def styled(style: str, prompt: str) -> str:
    """A dataset's prompt under a style."""
    return STYLES[style].replace("{prompt}", prompt)


def answer_text(style: str, response: str) -> str:
    """The part of a response that is graded: under "steps" what follows the last `Answer:`, when there is one."""
    found = list(_ANSWER.finditer(response)) if style == STEPS else []
    answer = found[-1]["answer"].strip() if found else ""
    return answer or response.strip()
