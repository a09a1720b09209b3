"""The wire between sandbox and judge."""
