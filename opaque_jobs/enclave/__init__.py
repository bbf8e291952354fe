"""What crosses the wall, the wall, and what is inside it."""
