"""Many submissions: slots, GPUs, what is kept, what is graded again, and the command."""
