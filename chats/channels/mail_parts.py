"""What a mail says: who wrote it, the words that are new in it, and whether a person wrote it at all."""

from __future__ import annotations

import re
from email.message import EmailMessage, Message
from email.utils import parseaddr
from hashlib import sha256
from typing import Final, cast

from selectolax.lexbor import LexborHTMLParser

from chats.channels.quotes import new_words

OWN_HEADER: Final = "X-MIA-Channel"
MOST_REFERENCES: Final = 50
MACHINES: Final = re.compile(r"^(?:mailer-daemon|postmaster|no-?reply|do-?not-?reply|bounces?)\b", re.IGNORECASE)
BULK: Final = frozenset({"bulk", "junk", "list", "auto_reply"})
SELF_ANSWERING: Final = ("X-Autoreply", "X-Autorespond", "X-Auto-Response-Suppress", "List-Id", "List-Unsubscribe")
MESSAGE_ID: Final = re.compile(r"<[^<>\s]{1,298}>")
BLOCKS: Final = "p, div, br, li, tr, h1, h2, h3, h4"
UNSEEN: Final = ["script", "style", "head", "blockquote", "title", "img", "svg"]


def sender_of(mail: EmailMessage) -> tuple[str, str]:
    """Name and address, the latter in lower case; '' for a mail without a usable one."""
    name, address = parseaddr(str(mail.get("Reply-To") or mail.get("From") or ""))
    return " ".join(name.split())[:150], address.lower() if re.fullmatch(r"[^@\s]+@[^@\s]+", address) else ""


def id_of(mail: Message, raw: bytes) -> str:
    """The mail's own id, or one made of its bytes."""
    found = MESSAGE_ID.search(str(mail.get("Message-ID") or ""))
    return found.group() if found else f"<{sha256(raw).hexdigest()}@no-id>"


def references_of(mail: Message) -> tuple[str, ...]:
    """The mails that it answers, the nearest first."""
    named = f"{mail.get('References') or ''} {mail.get('In-Reply-To') or ''}"
    return tuple(dict.fromkeys(reversed(MESSAGE_ID.findall(named)[-MOST_REFERENCES:])))


def not_from_a_person(mail: Message, own_address: str) -> str:
    """Why nobody should answer it; '' for a mail of a person."""
    _name, address = sender_of(cast("EmailMessage", mail))
    automatic = str(mail.get("Auto-Submitted") or "no").split(";")[0].strip().lower()
    if not address or str(mail.get("Return-Path") or "").strip() == "<>" or MACHINES.match(address):
        return "no person's address"
    if address == own_address.lower() or mail.get(OWN_HEADER):
        return "our own mail"
    if mail.get_content_type() == "multipart/report":
        return "a report on a delivery"
    if automatic != "no" or str(mail.get("Precedence") or "").strip().lower() in BULK:
        return "an automatic answer"
    return "a mailing list or an automatic answer" if any(mail.get(name) for name in SELF_ANSWERING) else ""


def words_of(mail: EmailMessage) -> str:
    """What is new in it: no quotes, no signature, no markup."""
    part = mail.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    try:
        content = str(part.get_content())
    except (LookupError, ValueError, AssertionError):
        content = (cast("bytes | None", part.get_payload(decode=True)) or b"").decode(errors="replace")
    text = text_of_html(content) if part.get_content_type() == "text/html" else content
    return new_words(text.replace("\x00", ""))


def text_of_html(markup: str) -> str:
    tree = LexborHTMLParser(markup)
    tree.strip_tags(UNSEEN, recursive=True)
    for quoted in tree.css(".gmail_quote, .moz-cite-prefix, #divRplyFwdMsg"):
        quoted.decompose()
    for block in tree.css(BLOCKS):
        block.insert_after("\n")
    text = tree.body.text(separator="") if tree.body is not None else ""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def attachments_in(mail: EmailMessage) -> int:
    return sum(1 for _ in mail.iter_attachments())
