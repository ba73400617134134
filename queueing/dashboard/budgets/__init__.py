"""The pages of budgets, and the section of an organization's settings."""
