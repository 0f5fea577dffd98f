"""What every channel promises, held against real servers on this machine; and what only mail has to promise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from accounts.tenancy import platform_scope
from chats import blocking, handoffs
from chats.channels import services
from chats.channels.base import SEAL_PURPOSE, ChannelError
from chats.channels.intake import NO_ATTACHMENTS, TOO_FAST
from chats.channels.outbox import APOLOGY
from chats.choices import ChannelKind, Delivery, Direction, MailSecurity, Role, Status
from chats.models import Bot, Channel, ChannelMessage, ChatLog, Conversation
from chats.tests.channels.servers import HOST, PASSWORD, TOKEN, USER, MailServers, TelegramServer
from mia.lib.sealing import seal
from miners.choices import JobState
from miners.models import Job
from miners.results import announce_end

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def mail_servers() -> Iterator[MailServers]:
    servers = MailServers()
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def telegram_server() -> Iterator[TelegramServer]:
    server = TelegramServer()
    yield server
    server.close()


def poll(channel: Channel) -> int:
    return services.poll(business_id=channel.business_id, channel_id=channel.pk, now=timezone.now())


def deliver(after: timedelta = timedelta(seconds=1)) -> None:
    """Everything that waits, as a worker would."""
    with platform_scope():
        waiting = list(ChannelMessage.objects.filter(delivery=Delivery.WAITING).order_by("id"))
    for message in waiting:
        services.deliver(business_id=message.business_id, message_id=message.pk, now=timezone.now() + after)


def said() -> list[tuple[str, str]]:
    with platform_scope():
        return [(log.role, log.message) for log in ChatLog.objects.order_by("id")]


def came_in() -> list[ChannelMessage]:
    with platform_scope():
        return list(ChannelMessage.objects.filter(direction=Direction.IN).order_by("id"))


def the_miner_answers(output: str) -> None:
    now = timezone.now()
    with platform_scope():
        job = Job.objects.live().get()
        Job.objects.filter(pk=job.pk).update(state=JobState.COMPLETED, output=output, finished_at=now)
        job.refresh_from_db()
        announce_end(job, now)


class ChannelContract:
    """Promises of every channel; a subclass says how a visitor writes and what they got."""

    channel: Channel

    def write(self, text: str, **fields: Any) -> None:
        raise NotImplementedError

    def got(self) -> list[str]:
        raise NotImplementedError

    def refuse(self, is_refusing: bool) -> None:
        raise NotImplementedError

    def test_a_question_is_answered_by_the_ai_where_it_was_asked(self) -> None:
        self.write("What does a tyre cost?")
        assert poll(self.channel) == 1
        the_miner_answers("A tyre costs 30 francs.")
        deliver()
        assert self.got() == ["A tyre costs 30 francs."]
        assert said() == [(Role.USER, "What does a tyre cost?"), (Role.ASSISTANT, "A tyre costs 30 francs.")]
        with platform_scope():
            talk = Conversation.objects.get()
        assert (talk.channel, talk.visitor_name) == (self.channel.kind, "Ana Lima")

    def test_nothing_comes_in_or_goes_out_twice(self) -> None:
        self.write("Write me a poem about the sea")
        poll(self.channel)
        with platform_scope():  # As after a crash before the cursor was kept.
            Channel.objects.update(cursor=self.channel.cursor)
        poll(self.channel)
        deliver()
        deliver(timedelta(hours=1))
        assert len(self.got()) == 1
        assert [role for role, _ in said()] == [Role.USER, Role.ASSISTANT]

    def test_an_agents_words_arrive_and_the_visitors_next_ones_join_them(self, alice: User) -> None:
        self.write("Hello, a person please")
        poll(self.channel)
        with platform_scope():
            talk = Conversation.objects.get()
            handoffs.take_over(talk, agent=alice, now=timezone.now())
            handoffs.say(talk, message="Alice here.", name="Alice", author=alice, now=timezone.now())
        deliver()
        assert self.got() == ["Alice here."]
        self.write("Thanks, Alice")
        poll(self.channel)
        assert said()[-1] == (Role.USER, "Thanks, Alice")
        with platform_scope():
            assert Conversation.objects.count() == 1

    def test_what_cannot_be_delivered_is_tried_again_and_given_up_in_the_end(self) -> None:
        self.write("Who painted the Mona Lisa?")
        poll(self.channel)
        self.refuse(True)
        deliver()
        with platform_scope():
            message = ChannelMessage.objects.get(direction=Direction.OUT)
        assert (message.delivery, message.attempts) == (Delivery.WAITING, 1)
        assert message.error
        self.refuse(False)
        deliver(timedelta(hours=2))
        assert len(self.got()) == 1

    def test_where_no_answer_comes_a_person_takes_it_up_and_the_visitor_is_told(self) -> None:
        self.write("What does a tyre cost?")
        poll(self.channel)
        now = timezone.now()
        with platform_scope():
            job = Job.objects.live().get()
            Job.objects.filter(pk=job.pk).update(state=JobState.FAILED, finished_at=now)
            job.refresh_from_db()
            announce_end(job, now)
        deliver()
        assert self.got() == [APOLOGY]
        with platform_scope():
            assert Conversation.objects.get().status == Status.WAITING

    def test_a_blocked_visitor_gets_no_answer(self) -> None:
        self.write("What does a tyre cost?")
        poll(self.channel)
        with platform_scope():
            talk = Conversation.objects.get()
            blocking.block(talk, reason="Spam", actor=None, until=None, now=timezone.now())
        self.write("And a chain?")
        poll(self.channel)
        assert [message.delivery for message in came_in()] == [Delivery.DONE, Delivery.IGNORED]
        assert came_in()[1].text == ""

    def test_a_wrong_secret_is_told_to_staff_without_the_secret(self) -> None:
        self.channel.encrypted_secret = seal("open-sesame", purpose=SEAL_PURPOSE)
        with pytest.raises(ChannelError) as refused:
            services.check(self.channel, now=timezone.now())
        assert "sesame" not in str(refused.value)
        with platform_scope():
            kept = Channel.objects.get()
        assert (kept.status, kept.last_error) == ("failing", str(refused.value))

    def test_the_test_button_reaches_both_ways(self) -> None:
        assert services.check(self.channel, now=timezone.now())
        assert PASSWORD not in self.channel.encrypted_secret


class TestMail(ChannelContract):
    """A mailbox."""

    @pytest.fixture(autouse=True)
    def _connected(self, bot: Bot, mail_servers: MailServers, settings: Settings) -> None:
        settings.OUTBOUND_LOOPBACK_NETWORKS = [f"{HOST}/32"]
        self.servers = mail_servers
        mail_servers.sent.clear()
        mail_servers.refusal = ""
        with platform_scope():
            self.channel = Channel.objects.create(
                business=bot.business,
                bot=bot,
                kind=ChannelKind.EMAIL,
                name="Help",
                address="help@shop.example",
                username=USER,
                imap_host=HOST,
                imap_port=mail_servers.imap_port,
                imap_security=MailSecurity.NONE,
                smtp_host=HOST,
                smtp_port=mail_servers.smtp_port,
                smtp_security=MailSecurity.NONE,
                encrypted_secret=seal(PASSWORD, purpose=SEAL_PURPOSE),
            )
        assert poll(self.channel) == 0, "what was there before is left alone"
        with platform_scope():
            self.channel.refresh_from_db()

    def write(self, text: str, **fields: Any) -> None:
        self.last_id = self.servers.write(text, **fields)

    def got(self) -> list[str]:
        return [mail.get_content().strip() for mail in self.servers.sent]

    def refuse(self, is_refusing: bool) -> None:
        self.servers.refusal = "451 later" if is_refusing else ""

    def test_answers_stay_in_the_thread_and_say_that_a_machine_wrote_them(self) -> None:
        self.write("Tell me a joke")
        poll(self.channel)
        deliver()
        (mail,) = self.servers.sent
        assert (mail["Subject"], mail["In-Reply-To"], mail["To"]) == ("Re: A question", self.last_id, "ana@example.org")
        assert mail["Auto-Submitted"] == "auto-replied"
        self.write(
            "Another joke?\n\nOn Mon, Nov 30, 2026 at 10:00 AM Shop wrote:\n> old words", References=mail["Message-ID"]
        )
        self.write("It is mine now", sender="eve@evil.example", References=mail["Message-ID"])
        poll(self.channel)
        assert [words for role, words in said() if role == Role.USER] == [
            "Tell me a joke",
            "Another joke?",
            "It is mine now",
        ]
        with platform_scope():
            assert Conversation.objects.count() == 2, "who knows an id does not get into the conversation"

    def test_machines_are_not_answered(self) -> None:
        bounce = b"From: MAILER-DAEMON@x.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b--\r\n"
        self.servers.receive(bounce)
        self.write("I am away", Auto_Submitted="auto-replied")
        self.write("News!", List_Id="<news.example>")
        self.write("Round and round", sender="help@shop.example")
        poll(self.channel)
        assert [message.delivery for message in came_in()] == [Delivery.IGNORED] * 4
        assert said() == []

    def test_markup_is_read_as_text_and_attachments_are_refused_with_a_note(self) -> None:
        page = "<p>Where is <b>it</b>?</p><script>x()</script><blockquote>old</blockquote>"
        attachment = 'Content-Disposition: attachment; filename="a.exe"\r\n\r\nMZ'
        parts = f"--b\r\nContent-Type: text/html\r\n\r\n{page}\r\n--b\r\n{attachment}\r\n--b--"
        head = 'From: bob@example.org\r\nMessage-ID: <html@x>\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        self.servers.receive((head + parts).encode())
        poll(self.channel)
        deliver()
        assert [words for _, words in said()] == ["Where is it?"]
        assert self.got() == [NO_ATTACHMENTS]

    def test_no_server_of_our_own_network_is_spoken_to(self, settings: Settings) -> None:
        settings.OUTBOUND_LOOPBACK_NETWORKS = []
        with pytest.raises(ChannelError, match="no server on the internet"):
            services.check(self.channel, now=timezone.now())


class TestTelegram(ChannelContract):
    """A bot of the Bot API."""

    @pytest.fixture(autouse=True)
    def _connected(self, bot: Bot, telegram_server: TelegramServer, settings: Settings) -> None:
        settings.OUTBOUND_LOOPBACK_NETWORKS = [f"{HOST}/32"]
        settings.OUTBOUND_ALLOWED_PORTS = [telegram_server.port]
        settings.TELEGRAM_API_URL = f"http://{HOST}:{telegram_server.port}"
        self.server = telegram_server
        telegram_server.updates.clear()
        telegram_server.sent.clear()
        telegram_server.refusal = 0
        with platform_scope():
            self.channel = Channel.objects.create(
                business=bot.business,
                bot=bot,
                kind=ChannelKind.TELEGRAM,
                name="Telegram",
                encrypted_secret=seal(TOKEN, purpose=SEAL_PURPOSE),
            )

    def write(self, text: str, **fields: Any) -> None:
        self.server.write(text, **fields)

    def got(self) -> list[str]:
        return [sent["text"] for sent in self.server.sent]

    def refuse(self, is_refusing: bool) -> None:
        self.server.refusal = 502 if is_refusing else 0

    def test_groups_and_bots_are_not_answered_and_start_is_greeted(self) -> None:
        self.write("Hi all", kind="group")
        self.write("I am a bot", **{"from": {"id": 9, "is_bot": True}})
        self.write("/start")
        self.write("", photo=[{"file_id": "x"}])
        assert poll(self.channel) == 4
        deliver()
        assert self.got() == ["Hello! How can I help?", NO_ATTACHMENTS]
        assert said() == []

    def test_one_sender_cannot_keep_the_bot_busy(self) -> None:
        for number in range(12):
            self.write(f"Tell me joke {number}", chat=77)
        poll(self.channel)
        assert [message.error for message in came_in()].count(TOO_FAST) == 2

    def test_a_visitor_who_left_is_not_written_to_again(self) -> None:
        self.write("Tell me a joke")
        poll(self.channel)
        self.server.refusal = 403
        deliver()
        with platform_scope():
            assert ChannelMessage.objects.get(direction=Direction.OUT).delivery == Delivery.FAILED
