"""What notices say about jobs, and who may read them."""
