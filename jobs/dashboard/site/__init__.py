"""The pages of the whole site, for superusers: organizations, people, the audit record."""
