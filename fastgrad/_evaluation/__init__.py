"""Move parameters, call `f`, put every bit back."""
