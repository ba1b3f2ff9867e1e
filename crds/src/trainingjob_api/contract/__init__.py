"""What crosses a boundary between two programs: environment, exit codes and messages, each defined once."""
