"""Runs that were made from others: what differs, their tree, going on from a checkpoint, and their comparison."""
