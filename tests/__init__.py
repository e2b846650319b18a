"""Tests; they mirror the tree."""

from pathlib import Path

ROOT = Path(__file__).parents[1]  # of the checkout
SHARED = ROOT.parent / "shared"  # real benchmark material; tests that need it skip where it is absent
