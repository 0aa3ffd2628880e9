"""Conformance of backends with the initspec specification: vectors, checks, tools."""
