"""Evaluations in other processes and threads."""
