"""The board of frameworks' own initializers: ``python -m initspec_conformance.peers`` runs it."""
