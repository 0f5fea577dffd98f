"""The network in the admin: what platform staff and business staff are shown, and what their buttons do."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from accounts.models import AuditEntry, Business, User
from accounts.tenancy import platform_scope
from miners.admin_miner_page import presence
from miners.choices import JobState, MinerStatus, Trust
from miners.models import Canary, CanaryTrial, EnrolmentToken, Job, Miner
from miners.services import create_enrolment_token, register_miner
from miners.tests.factories import make_miner, reload
from miners.tests.lives import ANSWER, QUESTION, REASON, make_life

pytestmark = pytest.mark.django_db
LogIn = Callable[[User], Client]
ADDRESS = "203.0.113.77"


def page(model: str, *args: object, name: str = "change") -> str:
    return reverse(f"admin:miners_{model}_{name}", args=args)


def act(browser: Client, model: str, row: Any, name: str, **data: str) -> Any:
    return browser.post(page(model, row.pk, name, name="act"), data, follow=True)


def run_action(browser: Client, model: str, name: str, *rows: Any, **data: str) -> Any:
    chosen = {"action": name, "_selected_action": [row.pk for row in rows], **data}
    return browser.post(page(model, name="changelist"), chosen, follow=True)


def seen(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def fresh(miner: Miner) -> Miner:
    return Miner.objects.get(pk=miner.pk)


def audited(target: Any) -> list[Any]:
    with platform_scope():
        return list(AuditEntry.objects.filter(target_id=str(target.pk)).values_list("action", "changes"))


def count_queries(browser: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert browser.get(address).status_code == 200
    return len(queries)


@pytest.fixture
def platform(root: User, log_in: LogIn) -> Client:
    return log_in(root)


@pytest.fixture
def miner() -> Miner:
    made, _key = make_miner(
        name="rtx4090-basel",
        gpu_name="NVIDIA GeForce RTX 4090",
        gpu_memory_mb=24564,
        ip_address=ADDRESS,
        gpu_stats={"memory_used_mb": 17000, "utilization": 71, "temperature": 64},
        served_models=[
            {"id": "Mistral-7B", "backend": "exllamav2", "quant": "4.0bpw", "max_context": 8192, "features": ["tools"]}
        ],
        model_ids=["Mistral-7B"],
    )
    return made


class TestMiners:
    def test_list_shows_gpu_status_trust_and_figures(self, platform: Client, miner: Miner) -> None:
        Miner.objects.filter(pk=miner.pk).update(job_count=812, total_tokens_generated=1_234_567)
        text = seen(platform.get(page("miner", name="changelist")))
        for words in ("rtx4090-basel", "RTX 4090", "24 GB", "idle", "verified", "812", "1.2 M", "Mistral-7B"):
            assert words in text

    @pytest.mark.parametrize(
        ("fields", "shown"),
        [
            ({}, "idle"),
            ({"status": MinerStatus.BUSY}, "busy"),
            ({"drain_requested": True}, "draining"),
            ({"pause_requested": True}, "paused"),
            ({"pause_requested": True, "drain_requested": True}, "draining"),
            ({"last_active": None}, "offline"),
            ({"status": MinerStatus.OFFLINE}, "offline"),
            ({"trust": Trust.BANNED}, "banned"),
        ],
    )
    def test_status_is_what_is_so_and_not_what_was_said_last(self, fields: dict[str, Any], shown: str) -> None:
        assert presence(make_miner(**fields)[0], timezone.now()) == shown

    def test_silent_miner_is_found_under_offline_only(self, platform: Client, miner: Miner) -> None:
        make_miner(name="laptop", last_active=timezone.now() - timedelta(minutes=1))
        offline = seen(platform.get(page("miner", name="changelist") + "?presence=offline"))
        online = seen(platform.get(page("miner", name="changelist") + "?presence=idle"))
        assert ("laptop" in offline, miner.name in offline) == (True, False)
        assert ("laptop" in online, miner.name in online) == (False, True)

    def test_page_says_what_it_can_do_and_what_went_wrong(self, platform: Client, miner: Miner) -> None:
        make_life(JobState.FAILED, miner=miner)
        text = seen(platform.get(page("miner", miner.pk)))
        for words in ("exllamav2", "4.0bpw", "71 %", "64 °C", ADDRESS, "engine error", REASON, "tools"):
            assert words.lower() in text.lower()

    def test_page_shows_its_canaries(self, platform: Client, miner: Miner) -> None:
        canary = Canary.objects.create(question="What does the moon cost?", facts="It costs 7.", expected="7")
        CanaryTrial.objects.create(
            job=make_life(JobState.COMPLETED, miner=miner), canary=canary, miner=miner, passed=False
        )
        assert "What does the moon cost?" in seen(platform.get(page("miner", miner.pk)))

    @pytest.mark.parametrize(
        ("name", "trust"),
        [
            ("verify", Trust.VERIFIED),
            ("make_trusted", Trust.TRUSTED),
            ("suspect", Trust.SUSPECT),
            ("ban", Trust.BANNED),
        ],
    )
    def test_button_moves_trust_with_its_reason_on_record(self, platform: Client, name: str, trust: Trust) -> None:
        miner, _key = make_miner(trust=Trust.PROBATION)
        act(platform, "miner", miner, name, words="seen in person")
        assert fresh(miner).trust == trust
        assert fresh(miner).trust_reason.startswith("seen in person (")
        assert audited(miner) == [("performed", {"act": name, "words": "seen in person"})]

    def test_button_that_changes_nothing_is_not_offered_and_does_nothing(self, platform: Client, miner: Miner) -> None:
        assert page("miner", miner.pk, "verify", name="act") not in seen(platform.get(page("miner", miner.pk)))
        assert "no longer possible" in seen(act(platform, "miner", miner, "verify"))
        assert audited(miner) == []

    def test_buttons_take_no_get(self, platform: Client, miner: Miner) -> None:
        assert platform.get(page("miner", miner.pk, "ban", name="act")).status_code == 405
        assert fresh(miner).trust == Trust.VERIFIED

    def test_unknown_button_is_not_found(self, platform: Client, miner: Miner) -> None:
        assert platform.post(page("miner", miner.pk, "delete_model", name="act")).status_code == 404

    def test_drain_and_back(self, platform: Client, miner: Miner) -> None:
        act(platform, "miner", miner, "drain")
        assert fresh(miner).drain_requested
        act(platform, "miner", miner, "undrain")
        assert not fresh(miner).drain_requested

    def test_pause_and_resume_of_one_and_of_several(self, platform: Client, miner: Miner) -> None:
        assert "hands idle jobs back" in seen(act(platform, "miner", miner, "pause"))
        assert fresh(miner).pause_requested
        assert "rtx4090-basel" in seen(platform.get(page("miner", name="changelist") + "?presence=paused"))
        act(platform, "miner", miner, "resume")
        assert not fresh(miner).pause_requested
        run_action(platform, "miner", "pause_selected", miner)
        assert fresh(miner).pause_requested
        run_action(platform, "miner", "resume_selected", miner)
        assert not fresh(miner).pause_requested
        assert len(audited(miner)) == 4

    def test_job_shows_the_model_and_what_was_not_believed(self, platform: Client, miner: Miner) -> None:
        job = make_life(JobState.COMPLETED, miner=miner)
        with platform_scope():
            job.attempts.update(model="qwen", model_digest="sha256:0123456789abcdef0123", remark="says 9 tokens")
        text = seen(platform.get(page("job", job.pk)))
        for words in ("sha256:0123456789ab", "not believed", "says 9 tokens"):
            assert words in text

    def test_slots_are_limited_and_the_miner_will_be_told(self, platform: Client, miner: Miner) -> None:
        platform.post(page("miner", miner.pk), {"max_slots": "2"})
        assert (fresh(miner).max_slots, fresh(miner).config_pending) == (2, True)
        platform.post(page("miner", miner.pk), {"max_slots": ""})
        assert fresh(miner).max_slots is None

    @pytest.mark.parametrize("slots", ["0", "65", "many"])
    def test_senseless_limit_is_refused(self, platform: Client, miner: Miner, slots: str) -> None:
        assert platform.post(page("miner", miner.pk), {"max_slots": slots}).status_code == 200
        assert fresh(miner).max_slots is None

    def test_several_are_moved_from_the_list(self, platform: Client) -> None:
        miners = [make_miner(trust=Trust.PROBATION)[0] for _ in range(3)]
        assert "3 miners are now trusted" in seen(run_action(platform, "miner", "trust_selected", *miners))
        assert {fresh(miner).trust for miner in miners} == {Trust.TRUSTED}
        run_action(platform, "miner", "drain_selected", *miners)
        assert all(fresh(miner).drain_requested for miner in miners)

    def test_ban_of_several_asks_first(self, platform: Client, miner: Miner) -> None:
        assert "Ban these miners?" in seen(run_action(platform, "miner", "ban_selected", miner))
        assert fresh(miner).trust == Trust.VERIFIED
        run_action(platform, "miner", "ban_selected", miner, confirmed="1")
        assert fresh(miner).trust == Trust.BANNED

    def test_nobody_adds_or_deletes_a_miner(self, platform: Client, miner: Miner) -> None:
        assert platform.get(page("miner", name="add")).status_code == 403
        assert platform.post(page("miner", miner.pk, name="delete"), {"post": "yes"}).status_code == 403

    def test_list_costs_as_many_queries_with_25_miners_as_with_5(self, platform: Client) -> None:
        for _ in range(5):
            make_miner()
        few = count_queries(platform, page("miner", name="changelist"))
        for _ in range(20):
            make_miner()
        assert count_queries(platform, page("miner", name="changelist")) == few


class TestEnrolment:
    FORM = {
        "name": "Basel rack",
        "trust": "1",
        "max_uses": "3",
        "expires_at_0": "2099-01-01",
        "expires_at_1": "00:00:00",
    }

    def test_token_is_shown_once_with_the_command_that_uses_it(self, platform: Client) -> None:
        text = seen(platform.post(page("enrolmenttoken", name="add"), self.FORM))
        found = re.search(r"curl -sSL http://testserver/install.sh \| sh -s -- --token (mia_et_\w{40})", text)
        assert found
        assert found[1] not in seen(platform.get(page("enrolmenttoken", EnrolmentToken.objects.get().pk)))
        assert found[1] not in seen(platform.get(page("enrolmenttoken", name="changelist")))

    def test_shown_token_enrols_a_miner_with_the_chosen_trust(self, platform: Client) -> None:
        text = seen(platform.post(page("enrolmenttoken", name="add"), self.FORM))
        plain = re.search(r"mia_et_\w{40}", text)[0]  # type: ignore[index]
        fields = {"name": "new", "status": "idle"}
        made = register_miner(fields=fields, enrolment_token=plain, plain_key="", is_open=False, now=timezone.now())
        assert made.miner.trust == Trust.VERIFIED

    def test_page_that_shows_it_is_kept_by_no_cache(self, platform: Client) -> None:
        assert "no-store" in platform.post(page("enrolmenttoken", name="add"), self.FORM)["Cache-Control"]

    def test_no_token_starts_a_miner_as_suspect_or_banned(self, platform: Client) -> None:
        assert 'value="-1"' not in seen(platform.get(page("enrolmenttoken", name="add")))
        platform.post(page("enrolmenttoken", name="add"), {**self.FORM, "trust": "-1"})
        assert not EnrolmentToken.objects.exists()

    def test_revoked_token_enrols_nobody(self, platform: Client, root: User) -> None:
        token, _plain = create_enrolment_token(name="t", trust=Trust.PROBATION, max_uses=1, created_by=root)
        act(platform, "enrolmenttoken", token, "revoke")
        token.refresh_from_db()
        assert not token.is_usable(timezone.now())
        assert "Revoked" in seen(platform.get(page("enrolmenttoken", name="changelist")))

    def test_several_are_revoked_from_the_list(self, platform: Client, root: User) -> None:
        tokens = [create_enrolment_token(name="t", trust=Trust.PROBATION, max_uses=1)[0] for _ in range(2)]
        run_action(platform, "enrolmenttoken", "revoke_selected", *tokens)
        assert EnrolmentToken.objects.filter(revoked_at=None).count() == 0


class TestCanaries:
    def test_expected_words_must_stand_in_the_facts(self, platform: Client) -> None:
        form = {"question": "How much?", "facts": "It costs 7 francs.", "expected": "8", "is_active": "on"}
        assert "does not stand in the facts" in seen(platform.post(page("canary", name="add"), form))
        platform.post(page("canary", name="add"), {**form, "expected": "7 FRANCS"})
        assert Canary.objects.get(question="How much?").expected == "7 FRANCS"

    def test_list_counts_what_miners_made_of_them(self, platform: Client, miner: Miner) -> None:
        canary = Canary.objects.create(question="How much is it?", facts="It costs 7.", expected="7")
        for passed in (True, True, True, False):
            CanaryTrial.objects.create(
                job=make_life(JobState.COMPLETED, miner=miner), canary=canary, miner=miner, passed=passed
            )
        assert "75 %" in seen(platform.get(page("canary", name="changelist")))

    def test_trials_are_read_and_never_changed(self, platform: Client, miner: Miner) -> None:
        canary = Canary.objects.create(question="How much is it?", facts="It costs 7.", expected="7")
        job = make_life(JobState.COMPLETED, miner=miner)
        trial = CanaryTrial.objects.create(job=job, canary=canary, miner=miner, passed=True)
        assert ANSWER in seen(platform.get(page("canarytrial", trial.pk)))
        assert platform.post(page("canarytrial", trial.pk), {"passed": "false"}).status_code == 403
        assert platform.get(page("canarytrial", name="add")).status_code == 403


class TestJobs:
    def test_list_shows_where_each_stands(self, platform: Client, miner: Miner, business: Business) -> None:
        job = make_life(JobState.COMPLETED, miner=miner, business=business)
        text = seen(platform.get(page("job", name="changelist")))
        for words in (str(job.pk)[:8], "completed", business.name, miner.name, "400 ms"):
            assert escape(words) in text

    def test_page_tells_every_attempt_and_who_is_charged(self, platform: Client, miner: Miner) -> None:
        stalled, _key = make_miner(name="slow-one")
        job = make_life(JobState.COMPLETED, miner=miner, failed_on=stalled)
        text = seen(platform.get(page("job", job.pk)))
        for words in ("slow-one", "stalled", "no chunk for 6 s", miner.name, "Attempt 2 offered", QUESTION, ANSWER):
            assert words.lower() in text.lower()
        assert re.search(r"<td>miner</td>", text)

    def test_words_of_a_prompt_are_shown_as_text(self, platform: Client, business: Business) -> None:
        evil = [{"role": "user", "content": "<script>alert(1)</script>"}, {"role": "tool", "content": None}, "nonsense"]
        text = seen(platform.get(page("job", make_life(JobState.QUEUED, business=business, messages=evil).pk)))
        assert "<script>alert(1)" not in text
        assert "&lt;script&gt;alert(1)" in text

    @pytest.mark.parametrize("state", list(JobState))
    def test_page_of_a_job_in_any_state_opens(self, platform: Client, miner: Miner, state: JobState) -> None:
        holder = None if state == JobState.QUEUED else miner
        seen(platform.get(page("job", make_life(state, miner=holder).pk)))

    def test_job_is_found_by_the_beginning_of_its_id(self, platform: Client) -> None:
        wanted, other = make_life(JobState.QUEUED), make_life(JobState.QUEUED)
        text = seen(platform.get(page("job", name="changelist") + f"?q={str(wanted.pk)[:8]}"))
        assert (page("job", wanted.pk) in text, page("job", other.pk) in text) == (True, False)

    @pytest.mark.parametrize("term", ["zzz", "x" * 50, "0" * 33, "' OR 1=1 --", "%00"])
    def test_senseless_search_finds_nothing(self, platform: Client, term: str) -> None:
        job = make_life(JobState.QUEUED)
        response = platform.get(page("job", name="changelist"), {"q": term})
        assert page("job", job.pk) not in response.content.decode()

    def test_live_job_is_cancelled(self, platform: Client) -> None:
        job = make_life(JobState.QUEUED)
        act(platform, "job", job, "cancel")
        assert reload(job).state == JobState.CANCELLED
        assert audited(job) == [("performed", {"act": "cancel"})]

    def test_failed_job_is_queued_again_as_a_new_one(self, platform: Client, miner: Miner, business: Business) -> None:
        job = make_life(JobState.FAILED, miner=miner, business=business, topic="conversation:1")
        act(platform, "job", job, "retry")
        with platform_scope():
            again = Job.objects.exclude(pk=job.pk).get()
        assert (again.state, again.messages, again.topic) == (JobState.QUEUED, job.messages, job.topic)
        assert again.business_id == business.pk

    def test_completed_job_offers_neither(self, platform: Client, miner: Miner) -> None:
        text = seen(platform.get(page("job", make_life(JobState.COMPLETED, miner=miner).pk)))
        assert "/act/" not in text

    def test_several_are_cancelled_or_retried_from_the_list(self, platform: Client, miner: Miner) -> None:
        queued, done = make_life(JobState.QUEUED), make_life(JobState.COMPLETED, miner=miner)
        failed = make_life(JobState.FAILED, miner=miner)
        assert "1 job is cancelled" in seen(run_action(platform, "job", "cancel_selected", queued, done, failed))
        assert "2 jobs are queued again" in seen(run_action(platform, "job", "retry_selected", queued, done, failed))

    def test_nobody_adds_edits_or_deletes_a_job(self, platform: Client) -> None:
        job = make_life(JobState.QUEUED)
        assert platform.get(page("job", name="add")).status_code == 403
        assert platform.post(page("job", job.pk), {"state": "completed"}).status_code == 403
        assert platform.post(page("job", job.pk, name="delete"), {"post": "yes"}).status_code == 403
        assert reload(job).state == JobState.QUEUED

    def test_list_costs_as_many_queries_with_25_jobs_as_with_5(
        self, platform: Client, miner: Miner, business: Business
    ) -> None:
        for _ in range(5):
            make_life(JobState.COMPLETED, miner=make_miner()[0], business=business)
        few = count_queries(platform, page("job", name="changelist"))
        for _ in range(20):
            make_life(JobState.COMPLETED, miner=make_miner()[0], business=business)
        assert count_queries(platform, page("job", name="changelist")) == few

    def test_list_fetches_no_words(self, platform: Client) -> None:
        make_life(JobState.QUEUED)
        with CaptureQueriesContext(connection) as queries:
            platform.get(page("job", name="changelist"))
        assert not [query for query in queries.captured_queries if '"miners_job"."messages"' in query["sql"]]


class TestBusinessStaff:
    """Alice owns the business, Bob works in it, Victor looks on, Charlie is a stranger."""

    @pytest.fixture
    def job(self, business: Business, miner: Miner) -> Job:
        return make_life(JobState.FAILED, miner=miner, business=business)

    def test_stranger_finds_no_job_of_another_business(self, log_in: LogIn, charlie: User, job: Job) -> None:
        browser = log_in(charlie)
        assert str(job.pk)[:8] not in seen(browser.get(page("job", name="changelist")))
        assert page("job", job.pk) not in seen(browser.get(page("job", name="changelist") + f"?q={job.pk}"))
        assert browser.get(page("job", job.pk)).status_code == 404
        assert browser.post(page("job", job.pk, "retry", name="act")).status_code == 404
        assert browser.get(page("job", uuid4())).status_code == 404

    def test_stranger_changes_nothing_by_a_bulk_action(self, log_in: LogIn, charlie: User, business: Business) -> None:
        job = make_life(JobState.QUEUED, business=business)
        run_action(log_in(charlie), "job", "cancel_selected", job)
        assert reload(job).state == JobState.QUEUED

    def test_own_job_is_shown_without_what_miners_said(self, log_in: LogIn, bob: User, job: Job) -> None:
        text = seen(log_in(bob).get(page("job", job.pk)))
        assert QUESTION in text
        assert (REASON in text, ADDRESS in text) == (False, False)
        assert "/admin/miners/miner/" not in text

    def test_no_job_of_the_platform_is_theirs(self, log_in: LogIn, alice: User, miner: Miner) -> None:
        canary = make_life(JobState.COMPLETED, miner=miner)
        assert log_in(alice).get(page("job", canary.pk)).status_code == 404

    def test_agent_may_retry(self, log_in: LogIn, bob: User, job: Job) -> None:
        assert "Queued again" in seen(act(log_in(bob), "job", job, "retry"))

    def test_viewer_may_not_and_sees_no_button(self, log_in: LogIn, victor: User, job: Job) -> None:
        browser = log_in(victor)
        assert "/act/" not in seen(browser.get(page("job", job.pk)))
        assert browser.post(page("job", job.pk, "retry", name="act")).status_code == 403
        with platform_scope():
            assert Job.objects.count() == 1

    @pytest.mark.parametrize("model", ["miner", "enrolmenttoken", "canary", "canarytrial"])
    def test_the_network_is_not_for_them(self, log_in: LogIn, alice: User, model: str) -> None:
        assert log_in(alice).get(page(model, name="changelist")).status_code == 403
        assert log_in(alice).get(page(model, name="add")).status_code == 403

    def test_a_miner_is_not_found(self, log_in: LogIn, alice: User, miner: Miner) -> None:
        browser = log_in(alice)
        assert browser.get(page("miner", miner.pk)).status_code == 404
        assert browser.post(page("miner", miner.pk, "ban", name="act")).status_code == 404
        assert fresh(miner).trust == Trust.VERIFIED
