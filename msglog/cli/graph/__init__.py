"""The topology of a store, and its drawings. Imported by the command `graph`."""
