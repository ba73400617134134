"""The curves of a job: the figures in its log, by step. Read, thinned, compared, exported."""
