"""Grading: the student's notebook runs in a sandbox, the hidden tests judge it from outside."""
