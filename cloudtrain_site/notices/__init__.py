"""Notices: messages to people about what happened, stored with the change and delivered after it.

`outbox.store` is what the rooms call. `recipients` makes the deliveries of a stored notice, `sending` sends them.
"""
