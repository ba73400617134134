"""What of ended jobs is kept for a time and then removed: `retention` in the configuration file."""
