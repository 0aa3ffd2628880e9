"""Speed and memory against the peers; ``make bench`` runs it all and writes docs/performance.md.

`cases` says what is compared, `contenders` how each side is called, `measure` how samples become
figures, `worker` and `probe` are processes that take them, `report` is what becomes of them.
"""
