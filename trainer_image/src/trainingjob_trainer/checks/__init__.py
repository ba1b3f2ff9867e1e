"""What a task may do wrong: its returned values are checked where they are called for, and its exceptions are told with their place."""
