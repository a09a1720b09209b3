"""What runs inside a sandbox, beside the student's code: nothing here is trusted, nothing here is secret."""
