"""Annotated documents for the eye."""
