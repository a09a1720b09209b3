"""Learners, a file a family; none imports another."""
