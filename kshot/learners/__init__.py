"""Learners by family, one file each; no file imports another."""
