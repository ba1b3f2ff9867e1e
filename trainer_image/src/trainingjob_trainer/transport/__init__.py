"""How ranks exchange tensors: one port, and an implementation for each library. The libraries' own names stay inside."""
