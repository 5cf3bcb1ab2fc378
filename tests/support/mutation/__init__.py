"""Mutation of the safety code: the table of mutations, the checks that kill them, and the process that tries them."""
