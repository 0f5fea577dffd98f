"""Daphne as MIA ships it: it drains before it stops, refuses big bodies unread and cuts slow clients off.

Daphne alone drops the requests in flight on SIGTERM, closes sockets without a code, reads any body to its end before
the application sees it, and waits for a slow client for ever.
"""
