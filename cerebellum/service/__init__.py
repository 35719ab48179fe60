"""The service: markets' ticks in, signals out."""
