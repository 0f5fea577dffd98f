"""Speaking HTTP with a platform, and with things that are not one."""

import threading

import pytest

from gpu_miner.client import PlatformClient
from gpu_miner.errors import PlatformError, Refused, Rejected, Unavailable, Unreachable
from gpu_miner.tests.fake_platform import FakePlatform, Fault

HEARTBEAT = {"miner_id": "1", "status": "idle", "slots_free": 1, "jobs": []}


@pytest.fixture
def configs() -> list[object]:
    return []


@pytest.fixture
def client(platform: FakePlatform, configs: list[object]) -> PlatformClient:
    platform.miners["m"] = {"miner_id": "1", "auth_key": "mia_mk_key"}
    client = PlatformClient(platform.url + "/", configs.append)
    client.use_key("mia_mk_key")
    return client


def error_of(client: PlatformClient) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        client.heartbeat(HEARTBEAT)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Rejected),
        (400, Rejected),
        (401, Refused),
        (403, Refused),
        (404, Rejected),
        (408, Unavailable),
        (409, Rejected),
        (425, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_each_status_has_its_error(
    platform: FakePlatform, client: PlatformClient, status: int, kind: type[PlatformError]
) -> None:
    body = {"detail": "so it is", "error_code": "SOME_CODE"}
    platform.fail("/heartbeat", Fault(status=status, body=body, headers={"Retry-After": "7", "Location": "https://x"}))
    error = error_of(client)
    assert type(error) is kind
    assert (error.status, error.code, error.retry_after_s) == (status, "SOME_CODE", 7.0)


def test_the_platforms_own_words_are_kept(platform: FakePlatform, client: PlatformClient) -> None:
    platform.fail("/heartbeat", Fault(status=400, body={"detail": {"slots_free": ["a number"]}}))
    assert str(error_of(client)) == "slots_free: ['a number']"


def test_a_redirect_is_not_followed_with_the_key(platform: FakePlatform, client: PlatformClient) -> None:
    platform.fail("/heartbeat", Fault(status=302, headers={"Location": f"{platform.url}/elsewhere"}))
    assert "use that one as --url" in str(error_of(client))
    assert platform.bodies("/elsewhere") == []


@pytest.mark.parametrize("raw", [b"<html>login</html>", b"[]", b"", b"\xff"])
def test_a_page_instead_of_json_is_no_platform(platform: FakePlatform, client: PlatformClient, raw: bytes) -> None:
    platform.fail("/heartbeat", Fault(status=200, raw=raw))
    assert isinstance(error_of(client), Unreachable)


def test_a_cut_connection_is_unreachable(platform: FakePlatform, client: PlatformClient) -> None:
    platform.fail("/heartbeat", Fault(lose="request"))
    assert isinstance(error_of(client), Unreachable)


def test_nobody_there_is_unreachable() -> None:
    assert isinstance(error_of(PlatformClient("http://127.0.0.1:9", lambda raw: None)), Unreachable)


def test_a_date_in_retry_after_is_ignored(platform: FakePlatform, client: PlatformClient) -> None:
    platform.fail("/heartbeat", Fault(status=503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}))
    assert error_of(client).retry_after_s is None


def test_the_config_of_any_reply_is_passed_on(
    platform: FakePlatform, client: PlatformClient, configs: list[object]
) -> None:
    client.heartbeat(HEARTBEAT)  # type: ignore[arg-type]
    assert configs == []
    platform.heartbeat_news = {"config": {"flush_ms": 99}}
    client.heartbeat(HEARTBEAT)  # type: ignore[arg-type]
    assert configs == [{"flush_ms": 99}]


def test_text_travels_as_utf8_and_not_as_escapes(platform: FakePlatform, client: PlatformClient) -> None:
    platform.ask("x")
    job = next(iter(platform.jobs.values()))
    job.state = "running"
    client.chunks([{"job_id": job.job_id, "fence": job.fence, "offset": 0, "text": "🚲 déjà 東京", "tokens": 3}])
    assert job.text == "🚲 déjà 東京"
    assert int(platform.headers("/job/chunks")[0]["Content-Length"]) < 200


def test_a_netrc_entry_cannot_replace_the_key(
    platform: FakePlatform, client: PlatformClient, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w", encoding="utf-8") as file:
        file.write("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", netrc)
    client.heartbeat(HEARTBEAT)  # type: ignore[arg-type]
    assert platform.headers("/heartbeat")[0]["Authorization"] == "Bearer mia_mk_key"


def test_a_call_from_another_thread_uses_the_connection_that_is_open(
    client: PlatformClient, platform: FakePlatform
) -> None:
    """A result must not pay for a new connection because its job had a thread of its own."""
    opened: list[object] = []
    accept = platform.server.get_request
    platform.server.get_request = lambda: opened.append(1) or accept()  # type: ignore[method-assign]
    for _ in range(3):
        thread = threading.Thread(target=client.heartbeat, args=(HEARTBEAT,))
        thread.start()
        thread.join()
    assert len(opened) == 1
