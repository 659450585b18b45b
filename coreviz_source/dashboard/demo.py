"""The pictures of the demo: the local Studio that drew them stopped with the demo, so it is started again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from coreviz_source.dashboard import queries
from coreviz_source.dashboard.warehouse import Warehouse


@contextmanager
def pictures(warehouse: Warehouse) -> Iterator[None]:
    """Serves the demo's library while it lasts, and leads the addresses in the warehouse there.

    The demo's library is the same whenever it is made with as many media. The port that the demo had may be taken by
    now; a free one is used, and the beginning of each address is replaced.

    Raises:
        NothingLoadedError: There is no demo's warehouse yet.
    """
    from coreviz_source.local_studio import Library, Studio

    with warehouse.opened() as reader:
        address, media = queries.picture_address(reader)
    parts = urlsplit(address or "")
    with Studio(Library.generate(media)) as studio:
        warehouse.address = (f"{parts.scheme}://{parts.netloc}/", f"{studio.url}/")
        yield
