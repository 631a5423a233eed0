"""Hostile inputs, damages and interruptions: what must be refused, survived, or resumed."""
