"""The page of the API: its schema, as text with examples."""
