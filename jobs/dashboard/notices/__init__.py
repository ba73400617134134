"""The pages of notices: channels and deliveries, of a person and of an organization."""
