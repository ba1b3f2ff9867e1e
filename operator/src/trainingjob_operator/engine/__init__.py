"""What every controller of a kind needs: a queue around passes, copies of objects, the lease, events, the program. It knows no kind."""
