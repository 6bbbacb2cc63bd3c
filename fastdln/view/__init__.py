"""A page to look into the store of a scan, as ``fastdln view`` serves it.

`reading` knows the store; `quantities`, `maps`, `crowd`, `course` and `graph` what is made of it, without a page.
`style`, `desk` and the panels draw; `page` puts them together; `server` hands the page out on this machine alone.
"""

from __future__ import annotations
