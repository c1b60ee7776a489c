"""What `scripts/checks` checks, one promise a file."""
