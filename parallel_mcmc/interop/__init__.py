"""Other libraries' samplers and results: BlackJAX, NumPyro, ArviZ."""
