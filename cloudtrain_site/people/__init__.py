"""What is stored about a person: where their name stands, and the export of all of it."""
