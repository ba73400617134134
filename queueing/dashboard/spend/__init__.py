"""The page of what was spent: its address, its figures, and the shapes of its charts."""
