"""Rows and blobs: the only place that knows SQL connections, files and transactions.

It knows rows, not policy. A use case is a plain function `f(tx, …)`; `Store.write` and `Store.read`
run it in a transaction.
"""

# Each of these is a part of the metadata.
from sweepd.store import chart_tables, history_tables, run_tables  # noqa: F401
from sweepd.store.blobs import Blobs, BlobWriter, Written
from sweepd.store.prepared import Prepared, change_rows
from sweepd.store.store import Store
from sweepd.store.tx import Tx

__all__ = ["BlobWriter", "Blobs", "Prepared", "Store", "Tx", "Written", "change_rows"]
