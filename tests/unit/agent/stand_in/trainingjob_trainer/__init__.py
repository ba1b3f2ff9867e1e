"""Stands in for the trainer."""
