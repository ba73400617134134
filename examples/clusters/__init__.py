"""Real Slurm and Ray on this machine, for the demo and the tests: private, on the loopback address, gone at the end."""
