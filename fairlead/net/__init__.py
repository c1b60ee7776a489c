"""HTTP for every room: `request`, `fetch_json` for our own API, `download` for large files.

By http.client with the system's trust store; see `request.py` for what that costs and buys.
"""

from fairlead.net.download import TooLarge, download
from fairlead.net.request import Broken, Response, fetch_json, request
from fairlead.net.url import redact

__all__ = ["Broken", "Response", "TooLarge", "download", "fetch_json", "redact", "request"]
