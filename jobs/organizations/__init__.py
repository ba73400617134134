"""Organizations: their members, invitations, settings, and their end."""
