"""The instructor's package: write a homework once, grade three hundred submissions with one command."""
