"""Other libraries' samplers and results: BlackJAX, ArviZ."""
