"""The operator's ends of the streams to its jobs' rendezvous: intent out, reports in."""
