"""What stands around the list of jobs: filters, totals, columns, saved views, acts on several jobs at once."""
