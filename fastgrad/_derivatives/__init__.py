"""Derivatives by finite differences."""
