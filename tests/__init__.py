"""Tests. Their folders mirror the source tree."""

from pathlib import Path

ROOT = Path(__file__).parents[1]  # of the checkout
SHARED = ROOT.parent / "shared"  # real benchmark material; tests that need it are skipped if it is absent
