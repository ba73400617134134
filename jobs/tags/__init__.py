"""Which jobs carry which tags of their organization."""
