"""One function per use case: `f(tx, …)` joins spec, search, schedule and store.

Nothing here reads a clock but `tx.now`, and nothing is kept between two calls but rows.
"""
