"""How rows, bytes and progress are shown: to a person, or as JSON. Knows nothing of stores."""
