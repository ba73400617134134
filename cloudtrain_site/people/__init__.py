"""A person's stored data: where their name stands, and the export of all of it."""
