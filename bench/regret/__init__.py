"""What `bench/search.py` is made of: problems, engines, the searches, their tables."""
