"""`manage.py backup` and `manage.py restore`: the database, the data folder, and the keys apart from both."""
