"""Hidden tests on proxies: one submission, from the file to its record."""
