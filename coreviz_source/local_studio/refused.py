"""Requests that are answered with an error."""

from __future__ import annotations


class Refused(Exception):
    """A request is answered with an error of the API.

    Args:
        status: The status of the response.
        message: The server's message.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
