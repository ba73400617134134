"""What is kept for a time and then removed: see `extensions.kept`, and `retention` in the configuration file."""
