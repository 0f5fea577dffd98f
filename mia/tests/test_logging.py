"""Log lines: one per event, tied to their request and job, and with nothing in them that opens a door."""

import asyncio
import json
import logging
import logging.config
import threading

import pytest

from mia.lib.logging import (
    ConsoleFormatter,
    ContextFilter,
    JsonFormatter,
    bind_job,
    bind_request,
    current_request_id,
    escape_control_characters,
    logging_config,
    redact,
    redact_value,
)

BODY = "Zx8" * 14
KEY = f"mia_sk_{BODY}"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


def record(message, *arguments, exc_info=None, **extra):
    made = logging.LogRecord("miners.dispatch", logging.WARNING, __file__, 1, message, arguments, exc_info)
    vars(made).update(extra)
    ContextFilter().filter(made)
    return made


def as_json(*arguments, **extra):
    line = JsonFormatter().format(record(*arguments, **extra))
    assert "\n" not in line
    return json.loads(line)


def as_text(*arguments, **extra):
    return ConsoleFormatter().format(record(*arguments, **extra))


def raised(message):
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return (type(error), error, error.__traceback__)


class TestRedaction:
    @pytest.mark.parametrize("kind", ["pk", "sk", "ck", "mk"])
    def test_an_api_key_keeps_only_its_kind(self, kind):
        assert redact(f"the key mia_{kind}_{BODY}, it says") == f"the key mia_{kind}_[redacted], it says"

    @pytest.mark.parametrize(
        "text",
        [
            f"Authorization: Bearer {KEY}",
            "Authorization: Bearer abcdef123456",
            "authorization=Basic dXNlcjpwYXNzd29yZA==",
            "{'Authorization': 'Bearer abcdef123456'}",
            '{"authorization": "abcdef123456"}',
            '{"headers": "{\\"Authorization\\": \\"Bearer abcdef123456\\"}"}',
            "X-Api-Key: abcdef123456",
            "X-Session-Token: abcdef123456",
            "GET /chat/1/events?stream_token=abcdef123456&x=1",
            "GET /chat/1/events?a=1&stream_token=abcdef123456",
            '{"session_token": "abcdef123456"}',
            "{'session_token': 'abcdef123456'}",
            "session_token=abcdef123456",
            '{"auth_key": "abcdef123456"}',
            "enrolment_token: abcdef123456",
            "api_key=abcdef123456",
            "password=abcdef123456",
            "Cookie: sessionid=abcdef123456",
            "b'stream_token': b'abcdef123456'",
            f"token {JWT} refused",
            "sent as bearer abcdef123456",
        ],
    )
    def test_a_credential_does_not_pass(self, text):
        safe = redact(text)
        assert "[redacted]" in safe
        assert not any(secret in safe for secret in ["abcdef123456", "dXNlcjpwYXNzd29yZA", BODY, JWT])

    @pytest.mark.parametrize(
        "text",
        [
            "Claimed 3 jobs for miner 7 in 12 ms",
            "GET /chat/1/events?limit=5 200",
            "The bearer of this message",
            "Authorization was refused",
            "The password of user 3 was changed",
            "mia_jobs_total is 7",
            "stream_tokens_per_second=9",
        ],
    )
    def test_other_text_stays_as_it_is(self, text):
        assert redact(text) == text

    def test_the_neighbours_of_a_credential_stay(self):
        assert redact("/events?stream_token=abc123&limit=5 200") == "/events?stream_token=[redacted]&limit=5 200"

    def test_nested_fields_are_searched(self):
        value = {"headers": {"Authorization": "x", "Accept": "y"}, "list": [KEY, ("a", 1)], "n": None, "t": True}
        safe = redact_value(value)
        assert safe["headers"] == {"Authorization": "[redacted]", "Accept": "y"}
        assert safe["list"] == ["mia_sk_[redacted]", ["a", 1]]
        assert (safe["n"], safe["t"]) == (None, True)

    def test_an_unknown_object_is_searched_as_text(self):
        assert redact_value(ValueError(KEY)) == "mia_sk_[redacted]"

    def test_an_absurdly_long_line_is_searched_in_reasonable_time(self):
        assert "[redacted]" in redact("authorization " * 50_000 + KEY)


class TestJson:
    def test_a_line_has_time_level_logger_and_message(self):
        line = as_json("Claimed %s jobs", 3)
        assert (line["level"], line["logger"], line["message"]) == ("WARNING", "miners.dispatch", "Claimed 3 jobs")
        assert line["timestamp"].endswith("+00:00")

    def test_extra_fields_become_fields(self):
        line = as_json("Claimed", miner_id=7, tags={"a"})
        assert (line["miner_id"], line["tags"]) == (7, ["a"])

    def test_credentials_are_redacted_wherever_they_stand(self):
        line = as_json("Key %s", KEY, session_token="abc", note=f"is {KEY}", exc_info=raised(f"bad {KEY}"))
        assert BODY not in json.dumps(line)
        assert line["session_token"] == "[redacted]"
        assert "RuntimeError" in line["exc_info"]

    def test_line_breaks_and_terminal_commands_cannot_forge_a_line(self):
        line = JsonFormatter().format(record("name is %s", 'x\r\n{"level": "ERROR"}\x1b[2J\u2028\x85'))
        assert "\x1b" not in line
        assert len(line.splitlines()) == 1

    def test_the_request_object_of_django_is_left_out(self):
        assert "request" not in as_json("Not found", request=object())

    def test_a_message_that_is_no_text_is_logged_all_the_same(self):
        assert as_json({"event": "x", "api_key": "abc"})["api_key"] == "[redacted]"


class TestConsole:
    def test_a_line_is_short(self):
        assert as_text("Claimed %s jobs", 3).endswith("WARNING miners.dispatch: Claimed 3 jobs")

    def test_line_breaks_and_terminal_commands_are_shown_escaped(self):
        line = as_text("name is %s", "x\r\n12:00:00 ERROR forged\x1b[2J")
        assert len(line.splitlines()) == 1
        assert r"x\r\n12:00:00 ERROR forged\x1b[2J" in line

    def test_a_traceback_is_indented_and_cannot_pass_for_a_line(self):
        first, *rest = as_text("Failed", exc_info=raised(f"{KEY}\n12:00:00 ERROR forged\x1b[2J")).split("\n")
        assert first.endswith("Failed")
        assert all(line.startswith("    ") for line in rest)
        assert BODY not in "".join(rest)
        assert "\x1b" not in "".join(rest)

    def test_the_ids_are_shown(self):
        with bind_request("req-12345"), bind_job("job-1"):
            assert as_text("Claimed").endswith("Claimed request=req-12345 job=job-1")

    @pytest.mark.parametrize("text", ["plain", "tab\tis kept", "Grüezi 😀"])
    def test_harmless_text_is_not_escaped(self, text):
        assert escape_control_characters(text) == text


class TestContext:
    def test_lines_carry_the_ids_that_are_bound(self):
        with bind_request("req-12345"), bind_job(17):
            line = as_json("Claimed")
        assert (line["request_id"], line["job_id"]) == ("req-12345", "17")

    def test_outside_there_are_no_ids(self):
        with bind_job(17):
            pass
        assert {"request_id", "job_id"}.isdisjoint(as_json("Claimed"))
        assert current_request_id() == ""

    def test_ids_nest(self):
        with bind_job("outer"):
            with bind_job("inner"):
                assert as_json("x")["job_id"] == "inner"
            assert as_json("x")["job_id"] == "outer"

    def test_an_id_is_unbound_after_a_failure(self):
        with pytest.raises(ZeroDivisionError), bind_request("req-12345"):
            raise ZeroDivisionError
        assert current_request_id() == ""

    def test_an_id_given_with_the_line_wins(self):
        with bind_job("bound"):
            assert as_json("x", job_id="given")["job_id"] == "given"

    def test_tasks_do_not_see_each_others_ids(self):
        async def handle(name):
            with bind_request(name):
                await asyncio.sleep(0.01)
                return current_request_id()

        async def both():
            return await asyncio.gather(handle("first"), handle("second"))

        assert asyncio.run(both()) == ["first", "second"]

    def test_another_thread_does_not_see_the_id(self):
        seen = []
        with bind_request("req-12345"):
            thread = threading.Thread(target=lambda: seen.append(current_request_id()))
            thread.start()
            thread.join()
        assert seen == [""]


class TestConfig:
    @pytest.fixture
    def configured(self, capsys):
        """Configures logging for real, as Django does, and puts back what there was."""
        root = logging.getLogger()
        before = (root.level, root.handlers[:])
        yield lambda level, log_format: logging.config.dictConfig(logging_config(level, log_format))
        root.handlers[:], root.level = before[1], before[0]

    def test_json_lines_come_out_on_stderr(self, configured, capsys):
        configured("INFO", "json")
        with bind_request("req-12345"):
            logging.getLogger("chats").info("Key %s", KEY)
        line = json.loads(capsys.readouterr().err)
        assert (line["message"], line["request_id"]) == ("Key mia_sk_[redacted]", "req-12345")

    def test_the_level_is_kept(self, configured, capsys):
        configured("WARNING", "console")
        logging.getLogger("chats").info("quiet")
        logging.getLogger("chats").warning("loud")
        err = capsys.readouterr().err
        assert "quiet" not in err
        assert err.count("loud") == 1

    def test_refusals_are_not_news_and_failures_are_told_once(self, configured, capsys):
        configured("INFO", "console")
        logging.getLogger("django.request").warning("Not Found: /x")
        logging.getLogger("django.request").error("Internal Server Error: /x")
        err = capsys.readouterr().err
        assert "Not Found" not in err
        assert err.count("Internal Server Error") == 1

    def test_a_format_that_does_not_exist_is_refused(self):
        with pytest.raises(ValueError, match="json, console"):
            logging_config("INFO", "xml")
