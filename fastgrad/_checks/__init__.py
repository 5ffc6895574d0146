"""Is this derivative right? Choose how to look, run, conclude."""
