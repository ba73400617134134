"""Finds jobs for lists, quickly among millions: by name, in an order, a page at a time."""
