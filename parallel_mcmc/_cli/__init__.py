"""What the command line needs besides."""
