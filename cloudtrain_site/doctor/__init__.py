"""`manage.py doctor`: checks of the deployment, each registered by a room. `runs.py` runs them."""
