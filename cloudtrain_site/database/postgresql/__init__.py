"""Django's PostgreSQL backend, for servers that are restarted or away."""
