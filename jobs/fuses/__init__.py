"""What a job may cost at most, and the loop that sees to it."""
