"""Budgets: what the site, an organization or one person in it may spend in a period. The queue goes by them."""
