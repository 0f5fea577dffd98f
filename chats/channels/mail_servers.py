"""Connections to mail servers that a business names: public addresses only, under TLS, soon over."""

from __future__ import annotations

import imaplib
import ipaddress
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.conf import settings

from chats.channels.base import ChannelError
from chats.choices import MailSecurity
from chats.models import Channel
from mia.lib.outbound import is_listed_address, is_metadata_address, is_public_address

TIMEOUT_S: Final = 20.0
NETWORK_ERRORS: Final = (OSError, imaplib.IMAP4.error, smtplib.SMTPException)


def connect(host: str, port: int, timeout_s: float = TIMEOUT_S) -> socket.socket:
    """To the very address that was checked: a name that changes its mind in between gains nothing."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ChannelError(f"{host} is not known.") from error
    for family, kind, protocol, _name, address in found:
        if _may_connect(str(address[0])):
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(timeout_s)
            connection.connect(address)
            return connection
    raise ChannelError(f"{host} is no server on the internet.", permanent=True)


def _may_connect(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if settings.OUTBOUND_ALLOW_PRIVATE:
        return not is_metadata_address(address)
    return is_public_address(address) or is_listed_address(address)


class _Imap(imaplib.IMAP4):
    """Plain IMAP over a checked address."""

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return connect(self.host, self.port)


class _ImapTls(imaplib.IMAP4_SSL):
    """IMAP under TLS over a checked address."""

    def _create_socket(self, timeout: float | None) -> socket.socket:
        secured: ssl.SSLSocket = self.ssl_context.wrap_socket(connect(self.host, self.port), server_hostname=self.host)
        return secured


class _Smtp(smtplib.SMTP):
    """Plain SMTP over a checked address."""

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        return connect(host, port)


class _SmtpTls(smtplib.SMTP_SSL):
    """SMTP under TLS over a checked address."""

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        return self.context.wrap_socket(connect(host, port), server_hostname=host)


@contextmanager
def inbox(channel: Channel, password: str) -> Iterator[imaplib.IMAP4]:
    """The mailbox's INBOX, opened; raises ChannelError."""
    with _translated("IMAP"):
        host, port, context = channel.imap_host, channel.imap_port, ssl.create_default_context()
        is_tls = channel.imap_security == MailSecurity.TLS
        server: imaplib.IMAP4 = _ImapTls(host, port, ssl_context=context) if is_tls else _Imap(host, port)
        try:
            if channel.imap_security == MailSecurity.STARTTLS:
                server.starttls(context)
            server.login(channel.login, password)
            server.select("INBOX")
            yield server
        finally:
            _leave(server.logout)


@contextmanager
def outbox(channel: Channel, password: str) -> Iterator[smtplib.SMTP]:
    """The mail server that takes what goes out, signed in; raises ChannelError."""
    with _translated("SMTP"):
        host, port, context = channel.smtp_host, channel.smtp_port, ssl.create_default_context()
        is_tls = channel.smtp_security == MailSecurity.TLS
        server: smtplib.SMTP = _SmtpTls(host, port, context=context) if is_tls else _Smtp(host, port)
        try:
            server.ehlo_or_helo_if_needed()
            if channel.smtp_security == MailSecurity.STARTTLS:
                server.starttls(context=context)
            if password and server.has_extn("auth"):
                server.login(channel.login, password)
            yield server
        finally:
            _leave(server.quit)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise ChannelError(f"{what}: the user name or the password is wrong.", permanent=True) from error
    except smtplib.SMTPRecipientsRefused as error:
        raise ChannelError(f"{what}: the recipient was refused.", permanent=_is_for_good(error)) from error
    except smtplib.SMTPResponseException as error:
        raise ChannelError(
            f"{what}: refused with {error.smtp_code}.", permanent=500 <= error.smtp_code < 600
        ) from error
    except ssl.SSLError as error:
        raise ChannelError(f"{what}: no safe connection ({error.reason or 'TLS'}).") from error
    except imaplib.IMAP4.error as error:
        raise ChannelError(f"{what}: refused; check the user name and the password.") from error
    except NETWORK_ERRORS as error:
        raise ChannelError(f"{what}: the server does not answer ({type(error).__name__}).") from error


def _is_for_good(error: smtplib.SMTPRecipientsRefused) -> bool:
    return all(500 <= code < 600 for code, _ in error.recipients.values())


def _leave(say_goodbye: Any) -> None:
    try:
        say_goodbye()
    except NETWORK_ERRORS:
        return
