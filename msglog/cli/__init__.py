"""The command line: `msglog`, or `python -m msglog`.

Needs the extra `msglog[cli]`. Nothing here is public but the program itself. Three parts: `rows` makes plain
dictionaries of what is in a store, `output` shows them as tables or JSON, `commands` are the commands, which only put
the two together. `msglog.__main__` imports `main`; nobody else imports any of it.
"""
