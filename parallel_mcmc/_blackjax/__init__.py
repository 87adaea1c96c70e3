"""The modules that need BlackJAX."""
