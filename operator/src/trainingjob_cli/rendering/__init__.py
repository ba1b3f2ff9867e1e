"""What the terminal shows, as pure functions of what is known."""
