"""A mailbox: read by IMAP, answered by SMTP."""

from __future__ import annotations

import email
import imaplib
import re
from collections.abc import Iterable
from email.errors import HeaderParseError
from email.message import EmailMessage
from email.policy import SMTP, default
from email.utils import formatdate
from hashlib import sha256
from typing import Final, cast

from chats.channels import mail_parts
from chats.channels.base import MOST_AT_ONCE, ChannelError, ChannelPort, Fetched, Incoming, Outgoing
from chats.channels.mail_servers import inbox, outbox

MAX_BYTES: Final = 5_000_000
# What `email` raises for headers that nobody should write, such as "From: a@[".
STUMBLES: Final = (AttributeError, LookupError, TypeError, ValueError, AssertionError, RecursionError, HeaderParseError)
NUMBER: Final = re.compile(rb"RFC822\.SIZE (\d+)")


class MailChannel(ChannelPort):
    """A mailbox of a business. What was in it before it was connected is left alone."""

    def fetch(self) -> Fetched:
        with inbox(self.channel, self.secret) as server:
            epoch, upcoming = _numbering(server)
            if epoch != self.channel.cursor_epoch:
                return Fetched([], epoch, upcoming - 1)
            messages = [self._read(server, uid) for uid in self._new(server)]
        return Fetched(messages, epoch, self.channel.cursor)

    def send(self, message: Outgoing) -> str:
        mail = self._mail(message)
        with outbox(self.channel, self.secret) as server:
            server.send_message(mail, from_addr=self.channel.address, to_addrs=[message.address])
        return message.message_id

    def check(self) -> str:
        with inbox(self.channel, self.secret) as server:
            _, (count, *_rest) = server.status("INBOX", "(MESSAGES)")
        with outbox(self.channel, self.secret) as sending:
            sending.noop()
        return f"Both servers answer; the mailbox holds {_last_number(count)} messages."

    def _new(self, server: imaplib.IMAP4) -> list[int]:
        first = self.channel.cursor + 1
        _, (found, *_rest) = server.uid("SEARCH", f"UID {first}:*")
        # A range that ends in * holds the last message whatever its number.
        uids = sorted(uid for uid in map(int, (found or b"").split()) if uid >= first)
        return uids[:MOST_AT_ONCE]

    def _read(self, server: imaplib.IMAP4, uid: int) -> Incoming:
        size = NUMBER.search(_flat(server.uid("FETCH", str(uid), "(RFC822.SIZE)")[1]))
        is_large = size is not None and int(size.group(1)) > MAX_BYTES
        raw = _body(server.uid("FETCH", str(uid), "(BODY.PEEK[HEADER])" if is_large else "(BODY.PEEK[])")[1])
        incoming = read_mail(raw, uid, self.channel.address)
        if is_large and not incoming.ignored:
            return Incoming(**{**vars(incoming), "text": "", "attachments": 1})
        return incoming

    def _mail(self, message: Outgoing) -> EmailMessage:
        mail = EmailMessage(policy=SMTP)
        mail["From"], mail["To"] = self.channel.address, message.address
        mail["Subject"] = _one_line(message.subject) or "Re:"
        mail["Date"], mail["Message-ID"] = formatdate(usegmt=True), message.message_id
        mail[mail_parts.OWN_HEADER] = "1"
        if message.references:
            mail["In-Reply-To"] = message.references[0]
            mail["References"] = " ".join(reversed(message.references))
        if message.is_automatic:
            mail["Auto-Submitted"], mail["X-Auto-Response-Suppress"] = "auto-replied", "All"
        mail.set_content(message.text)
        return mail


def read_mail(raw: bytes, uid: int, own_address: str) -> Incoming:
    """A mail that Python's own reader stumbles over is put aside: it must not hold up those behind it."""
    try:
        return _incoming(email.message_from_bytes(raw, policy=default), raw, uid, own_address)
    except STUMBLES:
        return Incoming(f"<{sha256(raw).hexdigest()}@unreadable>", uid, ignored="it cannot be read")


def _incoming(mail: EmailMessage, raw: bytes, uid: int, own_address: str) -> Incoming:
    name, address = mail_parts.sender_of(mail)
    ignored = mail_parts.not_from_a_person(mail, own_address)
    return Incoming(
        external_id=mail_parts.id_of(mail, raw),
        cursor=uid,
        address=address[:254],
        name=name,
        subject=_one_line(str(mail.get("Subject") or "")),
        text="" if ignored else mail_parts.words_of(mail),
        references=mail_parts.references_of(mail),
        attachments=0 if ignored else mail_parts.attachments_in(mail),
        ignored=ignored,
    )


def _numbering(server: imaplib.IMAP4) -> tuple[int, int]:
    """UIDVALIDITY and UIDNEXT."""
    _, (reply, *_rest) = server.status("INBOX", "(UIDVALIDITY UIDNEXT)")
    validity, upcoming = (re.search(rb"%s (\d+)" % name, reply or b"") for name in (b"UIDVALIDITY", b"UIDNEXT"))
    if validity is None or upcoming is None:
        raise ChannelError("IMAP: the server does not number its messages.", permanent=True)
    return int(validity.group(1)), int(upcoming.group(1))


def _body(reply: Iterable[object]) -> bytes:
    return next((part[1] for part in reply if isinstance(part, tuple) and len(part) > 1), b"")


def _flat(reply: Iterable[object]) -> bytes:
    return b" ".join(part[0] if isinstance(part, tuple) else cast("bytes", part) for part in reply if part)


def _last_number(reply: bytes) -> int:
    numbers = re.findall(rb"\d+", reply or b"")
    return int(numbers[-1]) if numbers else 0


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
