"""The local Studio: a stand-in for the CoreViz service, for the demo and the tests.

It is a real HTTP server on loopback that speaks both generations of the documented API over a generated library. It
is not the service: what the documents leave open is our guess, and where the guess matters, a switch of `Studio`.

```python
from coreviz_source.local_studio import Library, Studio

with Studio(Library.generate(media=240)) as studio:
    print(studio.url, studio.key)
```
"""

from coreviz_source.local_studio.endpoints import Request
from coreviz_source.local_studio.library import Library
from coreviz_source.local_studio.server import Studio

__all__ = ["Library", "Request", "Studio"]
