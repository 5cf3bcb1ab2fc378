"""Fuzzing of everything that reads bytes: decoders, files of a store, whole stores, imports.

`targets` are functions from bytes to None that may raise typed errors only, within `limits`. `mutate` changes bytes and
`forms` the structures in them, with checksums repaired, so that the code behind the checksums is reached. The inputs of
`corpus` are replayed by `tests/fuzz`; `python -m support.fuzzing` searches for new ones.
"""
