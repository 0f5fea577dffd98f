"""The training API: the seed's endpoints, and the flow of an upload."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiKey, Business
from accounts.tenancy import business_scope
from chats.tests.factories import BotFactory
from chats.tests.issuers import make_dashboard
from knowledge import cleaning, storage
from knowledge.models import Chunk, ForgottenFile, Source, TrainingJob, UploadedFile
from knowledge.tests.factories import add_file, add_source, fresh, train

pytestmark = pytest.mark.django_db

PRICES = b"bicycle,price\nRed Racer,900\n"
Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def call(business: Business) -> Call:
    """A request by the business's dashboard, with its RS256 token."""
    token = make_dashboard(business).token()

    def send(method: str, path: str, body: Any = None, token: str = token) -> tuple[int, Any]:
        response = Client().generic(
            method,
            f"/api/training/{path}",
            b"" if body is None else json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}"},
        )
        return response.status_code, response.json() if response.content else None

    return send


def announced(content: bytes = PRICES, name: str = "prices.csv") -> dict[str, Any]:
    return {"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def put(ticket: dict[str, Any], content: bytes = PRICES) -> int:
    path = ticket["upload_url"].removeprefix("http://testserver")
    return Client().put(path, content, "application/octet-stream", headers=ticket["headers"]).status_code


def test_training_is_queued_once_at_a_time(business: Business, call: Call) -> None:
    source = add_source(business, kind="text", text="We open at nine.")
    status, body = call("POST", "queue", {})
    assert (status, body["source_ids"]) == (200, [str(source.pk)])
    assert call("GET", f"jobs/{body['job_id']}")[1]["status"] == "queued"
    status, body = call("POST", "queue", {})
    assert (status, body["error_code"]) == (409, "TRAINING_IN_PROGRESS")


def test_there_may_be_nothing_to_train(call: Call) -> None:
    assert call("POST", "queue", {}) == (
        200, {"message": "There is nothing to train for this bot.", "job_id": None, "source_ids": []},
    )  # fmt: skip


def test_a_strangers_bot_is_not_found(business: Business, other_business: Business, call: Call) -> None:
    assert call("POST", "queue", {"bot_id": BotFactory(business=other_business).pk})[0] == 404
    bot = BotFactory(business=business)
    body = {"kind": "text", "text": "Words.", "bot_id": bot.pk}
    assert call("POST", "sources", body)[1]["bot_id"] == bot.pk
    assert [source["kind"] for source in call("GET", f"sources?bot_id={bot.pk}")[1]["sources"]] == ["text"]


def test_a_deleted_source_is_gone_with_words_vectors_and_file(business: Business, call: Call) -> None:
    source = add_file(business, "prices.csv", PRICES)
    train(business)
    with business_scope(business.pk):
        key = UploadedFile.objects.get().storage_key
    status, body = call("DELETE", f"delete/{source.pk}")
    assert (status, body["message"]) == (200, "Source was deleted successfully")
    with business_scope(business.pk):
        assert not Chunk.objects.exists()
        assert ForgottenFile.objects.exists()
    cleaning.clean_up(business_id=business.pk, job_id=body["job_id"], now=source.created_at)
    with business_scope(business.pk):
        assert TrainingJob.objects.get(pk=body["job_id"]).status == "cleanup_completed"
        assert not ForgottenFile.objects.exists()
    assert not storage.files().exists(key)
    assert call("DELETE", f"delete/{source.pk}")[0] == 404


def test_a_strangers_source_is_not_deleted(business: Business, other_business: Business, call: Call) -> None:
    source = add_source(other_business, kind="text", text="Secret.")
    assert call("DELETE", f"delete/{source.pk}")[0] == 404
    assert fresh(other_business, source).status == "created"


def test_tokens_of_people_and_keys_of_pages_may_not_train(
    business: Business, call: Call, publishable_key: ApiKey, client_key: ApiKey
) -> None:
    dashboard = make_dashboard(business)
    for token in (dashboard.user("x"), dashboard.agent("x"), publishable_key.plain, client_key.plain):  # type: ignore[attr-defined]
        assert call("POST", "queue", {}, token=token)[0] == 403
    assert call("POST", "queue", {}, token="nonsense")[0] == 401


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "url"},
        {"kind": "url", "location": "ftp://a.example/"},
        {"kind": "url", "location": "https://user:pass@a.example/"},
        {"kind": "file", "location": "https://a.example/"},
        {"kind": "text", "text": " "},
        {"kind": "text", "text": 7},
        {"kind": "url", "location": "https://a.example/", "page_limit": 0},
        {"kind": "url", "location": "https://a.example/", "bot_id": 999_999},
        {"kind": "url", "location": "https://" + "a" * 3000},
    ],
)
def test_a_bad_source_is_refused(call: Call, body: dict[str, Any]) -> None:
    status, answer = call("POST", "sources", body)
    assert (status, answer["error_code"]) == (400, "INVALID_REQUEST")


def test_the_same_address_is_taught_once(call: Call) -> None:
    assert call("POST", "sources", {"kind": "url", "location": "https://A.example:443/x#part"})[0] == 200
    status, answer = call("POST", "sources", {"kind": "url", "location": "https://a.example/x"})
    assert (status, answer["error_code"]) == (409, "ALREADY_TAUGHT")


def test_an_upload_becomes_a_source_that_can_be_trained(business: Business, call: Call) -> None:
    status, body = call("POST", "upload/init", {"files": [announced()]})
    (ticket,) = body["files"]
    assert (status, ticket["status"]) == (200, "pending")
    assert put(ticket) == 204
    source = call("POST", "upload/finalize", {"source_ids": [ticket["source_id"]]})[1]["sources"][0]
    assert (source["status"], source["title"]) == ("created", "prices.csv")
    train(business)
    with business_scope(business.pk):
        assert Source.objects.get().status == "trained"
        assert UploadedFile.objects.get().status == "processed"


def test_the_same_content_again_is_the_same_source(call: Call) -> None:
    first = call("POST", "upload/init", {"files": [announced()]})[1]["files"][0]
    second = call("POST", "upload/init", {"files": [announced(name="other.csv")]})[1]["files"][0]
    assert second["source_id"] == first["source_id"]
    put(second)
    call("POST", "upload/finalize", {"source_ids": [first["source_id"]]})
    again = call("POST", "upload/init", {"files": [announced()]})[1]["files"][0]
    assert (again["upload_url"], again["status"]) == (None, "created")


def test_an_upload_that_never_came_fails_and_may_be_repeated(call: Call) -> None:
    ticket = call("POST", "upload/init", {"files": [announced()]})[1]["files"][0]
    source = call("POST", "upload/finalize", {"source_ids": [ticket["source_id"]]})[1]["sources"][0]
    assert (source["status"], "never arrived" in source["error"]) == ("upload_failed", True)
    ticket = call("POST", "upload/init", {"files": [announced()]})[1]["files"][0]
    put(ticket)
    assert (
        call("POST", "upload/finalize", {"source_ids": [ticket["source_id"]]})[1]["sources"][0]["status"] == "created"
    )


def test_another_file_than_was_announced_is_refused(call: Call) -> None:
    ticket = call("POST", "upload/init", {"files": [announced()]})[1]["files"][0]
    assert put(ticket, PRICES + b"more") == 400
    assert put(ticket, PRICES.upper()) == 204
    source = call("POST", "upload/finalize", {"source_ids": [ticket["source_id"]]})[1]["sources"][0]
    assert (source["status"], "not the file" in source["error"]) == ("upload_failed", True)


def test_a_program_is_no_file_to_learn_from(call: Call) -> None:
    program = b"\x7fELF\x02\x01\x01" + bytes(200)
    ticket = call("POST", "upload/init", {"files": [announced(program, "manual.pdf")]})[1]["files"][0]
    put(ticket, program)
    source = call("POST", "upload/finalize", {"source_ids": [ticket["source_id"]]})[1]["sources"][0]
    assert (source["status"], "no kind of file" in source["error"]) == ("upload_failed", True)


def test_a_ticket_opens_its_own_file_only(call: Call) -> None:
    files = [announced(), announced(b"other", "other.txt")]
    one, other = call("POST", "upload/init", {"files": files})[1]["files"]
    assert put({**one, "headers": other["headers"]}) == 401
    assert put({**one, "headers": {}}) == 401


def test_strangers_cannot_finalize(business: Business, other_business: Business, call: Call) -> None:
    ticket = call("POST", "upload/init", {"files": [announced()]})[1]["files"][0]
    token = make_dashboard(other_business).token()
    assert call("POST", "upload/finalize", {"source_ids": [ticket["source_id"]]}, token=token)[0] == 404


def test_a_business_has_room_for_so_much(call: Call) -> None:
    many = [{**announced(), "size_bytes": 25_000_000, "sha256": f"{number:064x}"} for number in range(50)]
    assert call("POST", "upload/init", {"files": many})[0] == 200
    many = [{**file, "sha256": f"{number + 100:064x}"} for number, file in enumerate(many)]
    assert call("POST", "upload/init", {"files": many})[1]["error_code"] == "TOO_MUCH_TAUGHT"
