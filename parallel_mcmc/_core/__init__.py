"""The solve: all states of a recursion at once, and its diagnosis."""
