"""Sources in the admin: added by kind, followed while they are trained, deleted; each role with its rights."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.models import Business, User
from accounts.tenancy import business_scope
from chats.tests.factories import BotFactory
from knowledge.answering import Asked, ground
from knowledge.models import CuratedAnswer, Embedding, ModelConfigVersion, Source, TrainingJob
from knowledge.tests.factories import add_file, add_source, chunks, fresh, train

pytestmark = pytest.mark.django_db
LogIn = Callable[[User], Client]
LIST = "/admin/knowledge/source/"


@pytest.fixture
def owner(log_in: LogIn, alice: User) -> Client:
    return log_in(alice)


def add(client: Client, business: Business, kind: str, **fields: Any) -> Any:
    whom = f"every:{business.pk}"
    return client.post(f"{LIST}add/?kind={kind}", {"whom": whom, **fields})


def only(business: Business) -> Source:
    with business_scope(business.pk):
        return Source.objects.get()


def test_a_page_is_added_and_queued(owner: Client, business: Business) -> None:
    response = add(owner, business, "url", location="https://a.example/help", refresh_hours=24)
    assert response.status_code == 302
    source = only(business)
    assert (source.kind, source.location, source.status) == ("url", "https://a.example/help", "queued_for_training")
    assert source.refresh_hours == 24


def test_each_kind_has_a_form_of_its_own(owner: Client, business: Business) -> None:
    bot = BotFactory(business=business, name="Dora")
    for kind, words in [("sitemap", "Pages, at most"), ("file", "of at most 25 MB"), ("text", "is a heading")]:
        page = owner.get(f"{LIST}add/?kind={kind}").content.decode()
        assert words in page
        assert f'value="{bot.pk}:{business.pk}"' in page
        assert "Dora" in page


def test_a_file_is_added(owner: Client, business: Business) -> None:
    file = SimpleUploadedFile("prices.csv", b"bicycle,price\nRed Racer,900\n")
    assert add(owner, business, "file", file=file).status_code == 302
    source = only(business)
    assert (source.kind, source.title, source.status) == ("file", "prices.csv", "queued_for_training")


def test_citations_of_a_file_lead_to_where_its_owner_says(owner: Client, business: Business) -> None:
    source = add_file(business, "returns.md", b"# Returns\n\nYou may return any bicycle within 30 days of delivery.")
    train(business)
    address = "https://shop.example/returns.pdf"
    fields = {"title": source.title, "whom": f"every:{business.pk}", "location": address}
    assert owner.post(f"{LIST}{source.pk}/change/", fields).status_code == 302
    asked = Asked(business_id=business.pk, bot_id=None, question="How many days to return a bicycle?")
    with business_scope(business.pk):
        found = ground(asked)
    assert found is not None
    assert found.sources[0].url == address
    refused = owner.post(f"{LIST}{source.pk}/change/", {**fields, "location": "javascript:alert(1)"})
    assert refused.status_code == 200


def test_a_program_called_pdf_is_refused_with_the_reason(owner: Client, business: Business) -> None:
    file = SimpleUploadedFile("manual.pdf", b"MZ" + bytes(range(32)) * 100)
    page = owner.post(f"{LIST}add/?kind=file", {"whom": f"every:{business.pk}", "file": file}, follow=True)
    assert "no kind of file that can be read" in page.content.decode()
    with business_scope(business.pk):
        assert not Source.objects.exists()


def test_the_same_page_twice_is_told_in_the_form(owner: Client, business: Business) -> None:
    add_source(business, location="https://a.example/help")
    page = add(owner, business, "url", location="https://a.example/help", refresh_hours=0).content.decode()
    assert "has been given the same address" in page


def test_answers_are_written_in_the_admin_and_trained(owner: Client, business: Business, alice: User) -> None:
    response = add(owner, business, "qa", title="Answers", **inline(total=0))
    source = only(business)
    assert response.url == reverse("admin:knowledge_source_change", args=[source.pk])
    assert owner.get(response.url).status_code == 200
    answer = {"answers-0-question": "Do you rent?", "answers-0-answer": "No.", "answers-0-other_wordings": "Hire?"}
    assert owner.post(response.url, {"title": "Answers", **inline(total=1), **answer}).status_code == 302
    with business_scope(business.pk):
        row = CuratedAnswer.objects.get()
        assert (row.question, row.other_wordings) == ("Do you rent?", ["Hire?"])
        assert row.approved_by_label == str(alice)
    train(business)
    assert [chunk.words for chunk in chunks(business)] == ["Do you rent?\nHire?\n\nNo."]


def inline(total: int) -> dict[str, str]:
    return {"answers-TOTAL_FORMS": str(total), "answers-INITIAL_FORMS": "0"}


def test_a_changed_text_is_trained_again(owner: Client, business: Business) -> None:
    source = add_source(business, kind="text", title="Rules", text="We open at nine.")
    train(business)
    address = reverse("admin:knowledge_source_change", args=[source.pk])
    assert owner.post(address, {"title": "Rules", "text": "We open at ten."}).status_code == 302
    assert fresh(business, source).status == "queued_for_training"
    train(business)
    assert [chunk.words for chunk in chunks(business)] == ["We open at ten."]


def test_the_list_tells_state_and_reason(owner: Client, business: Business) -> None:
    source = add_source(business, location="http://127.0.0.1/", title="Ours")
    train(business)
    page = owner.get(LIST).content.decode()
    assert "Training failed" in page
    assert "The port is not allowed" in page or "The address is not public" in page
    assert f'data-source="{source.pk}"' in page


def test_progress_is_told_while_it_moves(owner: Client, business: Business, charlie: User, log_in: LogIn) -> None:
    source = add_source(business, kind="text", text="Words.")
    with business_scope(business.pk):
        Source.objects.update(status="training", progress_done=3, progress_total=9)
    address = f"{LIST}progress/?ids={source.pk},nonsense"
    told = json.loads(owner.get(address).content)["sources"][str(source.pk)]
    assert told == {"label": "Training", "tone": "info", "note": "3 of 9", "moving": True, "chunks": "0"}
    assert json.loads(log_in(charlie).get(address).content) == {"sources": {}}


def test_a_failed_source_is_tried_again_by_a_button(owner: Client, business: Business) -> None:
    source = add_source(business, kind="text", text="Words.")
    address = reverse("admin:knowledge_source_act", args=[source.pk, "train_now"])
    assert owner.post(address).status_code == 302
    assert fresh(business, source).status == "queued_for_training"


def test_chosen_sources_are_looked_at_again(owner: Client, business: Business) -> None:
    one, two = (add_source(business, kind="text", text=text) for text in ("One.", "Two."))
    owner.post(LIST, {"action": "look_again", "_selected_action": [one.pk, two.pk]})
    with business_scope(business.pk):
        assert set(TrainingJob.objects.get().source_ids) == {one.pk, two.pk}


def test_deleting_forgets_everything(owner: Client, business: Business) -> None:
    source = add_file(business, "prices.csv", b"a,b\n1,2\n")
    train(business)
    assert owner.post(reverse("admin:knowledge_source_act", args=[source.pk, "delete_it"])).url == LIST
    assert chunks(business) == []


def test_agents_read_and_change_nothing(log_in: LogIn, bob: User, business: Business) -> None:
    source = add_source(business, kind="text", text="Words.")
    client = log_in(bob)
    assert client.get(LIST).status_code == 200
    assert client.get(reverse("admin:knowledge_source_change", args=[source.pk])).status_code == 200
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(reverse("admin:knowledge_source_act", args=[source.pk, "delete_it"])).status_code == 403


def test_nobody_adds_for_a_strangers_business(owner: Client, other_business: Business) -> None:
    page = add(owner, other_business, "url", location="https://a.example/", refresh_hours=0)
    assert page.status_code == 200
    with business_scope(other_business.pk):
        assert not Source.objects.exists()


def test_documents_chunks_and_trainings_are_readable(owner: Client, business: Business) -> None:
    add_source(business, kind="text", title="Rules", text="# Hours\n\nWe open at nine.")
    train(business)
    (chunk,) = chunks(business)
    with business_scope(business.pk):
        job = TrainingJob.objects.get()
    shown = [
        ("document", chunk.document_id, "We open at nine."),
        ("chunk", chunk.pk, "We open at nine."),
        ("trainingjob", job.pk, "Completed"),
    ]
    for model, pk, words in shown:
        assert words in owner.get(reverse(f"admin:knowledge_{model}_change", args=[pk])).content.decode()
        assert owner.get(f"/admin/knowledge/{model}/").status_code == 200


def test_an_empty_list_says_what_to_do(owner: Client) -> None:
    assert "Teach your bot" in owner.get(LIST).content.decode()


def test_a_deleted_bot_takes_along_what_only_it_was_taught(owner: Client, business: Business) -> None:
    bot = BotFactory(business=business)
    add_source(business, kind="text", text="For Dora alone.", bot_id=bot.pk)
    shared = add_source(business, kind="text", text="For every bot.")
    response = owner.post(reverse("admin:chats_bot_delete", args=[bot.pk]), {"post": "yes"})
    assert response.status_code == 302
    assert only(business).pk == shared.pk


def test_a_source_is_given_to_another_bot_with_all_that_was_learnt_from_it(owner: Client, business: Business) -> None:
    one, other = BotFactory(business=business), BotFactory(business=business)
    source = add_source(business, kind="text", title="Rules", text="We open at nine.", bot_id=one.pk)
    train(business, source)
    form = {"title": "Rules", "text": "We open at nine.", "whom": f"{other.pk}:{business.pk}"}
    assert owner.post(f"{LIST}{source.pk}/change/", form).status_code == 302
    assert fresh(business, source).bot_id == other.pk
    with business_scope(business.pk):
        assert set(Embedding.objects.values_list("bot_id", flat=True)) == {other.pk}
    assert {chunk.bot_id for chunk in chunks(business)} == {other.pk}


def test_a_source_is_not_given_to_a_bot_that_knows_it(owner: Client, business: Business) -> None:
    bot = BotFactory(business=business)
    for bot_id in (None, bot.pk):
        source = add_source(business, kind="text", title="Rules", text="We open at nine.", bot_id=bot_id)
    form = {"title": "Rules", "text": "We open at nine.", "whom": f"every:{business.pk}"}
    page = owner.post(f"{LIST}{source.pk}/change/", form).content.decode()
    assert "taught the same already" in page
    assert fresh(business, source).bot_id == bot.pk


def test_refusals_are_worded_per_language(owner: Client, business: Business) -> None:
    bot = BotFactory(business=business)
    form = {"bot": bot.pk, "retrieval_k": "6", "fusion": "rrf", "rerank": "on", "refusal_texts_de": "Weiß ich nicht."}
    assert owner.post("/admin/knowledge/modelconfigversion/add/", form).status_code == 302
    with business_scope(business.pk):
        config = ModelConfigVersion.objects.get()
    assert (config.refusal_texts, config.rerank) == ({"de": "Weiß ich nicht."}, True)
    page = owner.get(f"/admin/knowledge/modelconfigversion/{config.pk}/change/").content.decode()
    assert "Weiß ich nicht." in page
    assert "German" in page
