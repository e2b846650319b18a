"""Captions of a report's tables and figures, the same for every run."""

from __future__ import annotations

READING = (
    "AUC is the mean over seeds on the test split. Its interval (DeLong on the logit scale, questions about one image "
    "counted together) is the sampling error of that mean given these trained routers; the oracle's shows how sharp it "
    "can be at most with this test split. The seed range says how far the seeds lie apart. "
    "APGR: share of the gap between the two models that is recovered, averaged over all shares routed (random 0.5). "
    "CPT(x): the share of queries to route that recovers x of the gap. AUDC: accuracy of the system averaged over all "
    "shares routed. AIQ: mean height of the best accuracy that money buys, over one range of costs for all routers. "
    "QNC: the smallest cost that reaches the better model's accuracy, as a share of that model's cost (1 where both "
    "are 0). "
    "PRR: how far the rejection curve lies between random (0) and oracle (1). ECE and Brier: "
    "calibration error and mean squared error of the score, lower is better. Accuracy is of the router's own yes/no "
    "at score 0.5; always small trusts every answer, always large none. Caught: share of all wrong answers among the "
    "lowest 10%, 20% and 30% of scores, which is what sending those queries to the large model would repair at most "
    "(random: 10%, 20% and 30%). The oracle of this table knows only whether the small model is right; of AIQ "
    "and QNC it knows both models' answers."
)
DEFERRAL = (
    "Accuracy of the system when the queries with the lowest scores go to the large model; mean over seeds. The "
    "oracle knows both models' answers and defers first what the large model repairs."
)
COST = (
    "Accuracy against what 1000 queries cost, from token counts and prices in dollars for a million tokens: small "
    "model {small_in:g} in and {small_out:g} out, large model {large_in:g} in and {large_out:g} out. A router pays on "
    "every query for what it makes the small model do before it decides."
)
RISK = (
    "Left: the trade between right answers kept and wrong ones kept. Right: error rate of the answers that the small "
    "model keeps. Mean over seeds; with few methods the range of the seeds is shaded."
)
RELIABILITY = (
    "Share of right answers among those with about the same score, all seeds together; on the dotted diagonal a score "
    "means what it says. The area of a point is the number of its prompts."
)
