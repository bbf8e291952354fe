"""Nouns, lifecycles and rules, pure."""
