"""What is said of a check, and how it is drawn."""
