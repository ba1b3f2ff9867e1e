"""What the terminal shows: live and tables are pure functions of what is known, display draws them."""
