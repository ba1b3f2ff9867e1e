"""The TrainingJob API: what the operator, the rendezvous, the agent and the trainer agree on.

Models and pure functions only; this package depends on pydantic and on nothing else, so that every program of the product can import it.
"""
