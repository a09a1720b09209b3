"""What comes in: assignments and submissions, opened safely."""
