"""Runs on disk: written window by window, continued after whatever has ended them."""
