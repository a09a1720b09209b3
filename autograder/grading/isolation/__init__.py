"""Sandboxes: what student code can reach, how they start, and what keeps it there."""
