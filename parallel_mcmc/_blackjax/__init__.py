"""What needs BlackJAX."""
