"""What must hold where knowledge has a PostgreSQL of its own; run as a process, as settings are read once."""

from __future__ import annotations

import django

if __name__ == "__main__":
    django.setup()

    import os

    from django.core.management import call_command
    from django.db import OperationalError, connections
    from django.utils import timezone

    for alias in connections:
        call_command("migrate", database=alias, verbosity=0)

    from accounts.models import Business
    from accounts.tenancy import business_scope, platform_scope
    from accounts.tests.factories import BusinessFactory
    from knowledge import duties
    from knowledge.answering import Asked, ground, keep_receipt
    from knowledge.databases import alias as alias_of_knowledge
    from knowledge.models import Chunk, Embedding, RetrievalLog, Source
    from knowledge.retrieval import retrieve
    from knowledge.snapshot import snapshot_of
    from knowledge.tests.factories import add_source, train
    from mia import health

    def tables(alias: str) -> set[str]:
        return set(connections[alias].introspection.table_names())

    assert alias_of_knowledge() == "knowledge"
    assert not [name for name in tables("default") if name.startswith("knowledge_")], "tables in the wrong database"
    assert {name.split("_")[0] for name in tables("knowledge")} == {"knowledge", "django"}

    # Teaching, in two databases at once.
    one, other = BusinessFactory(), BusinessFactory()
    add_source(one, kind="text", title="Rules", text="We open at nine.")
    add_source(other, kind="text", title="Rules", text="We open at ten.")
    assert train(one).status == train(other).status == "completed"

    # The walls stand in the second database too, also for raw SQL, and without a scope nothing is seen.
    with business_scope(one.pk):
        assert [chunk.words for chunk in Chunk.objects.all()] == ["We open at nine."]
        assert Embedding.objects.count() == 1
        with connections["knowledge"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM knowledge_source")
            assert cursor.fetchone() == (1,)
    assert Source.objects.count() == 0

    # Questions are answered from the second database, by words and by vectors.
    with business_scope(one.pk):
        snapshot = snapshot_of(business_id=one.pk, bot_id=None)
        assert snapshot is not None
        found = retrieve(snapshot=snapshot, query="When do you open?")
        assert [passage.words for passage in found.passages] == ["We open at nine."], found
        assert found.is_enough
        grounding = ground(Asked(business_id=one.pk, bot_id=None, question="When do you open?"))
        assert grounding is not None
        log = keep_receipt(grounding, conversation_id=None, job_id=None, prompt_hash="", now=timezone.now())
        assert RetrievalLog.objects.get(pk=log.pk).query == "When do you open?"

    # The probe looks at both.
    health.check_postgresql()
    health.MigrationsCheck()()
    here = connections["knowledge"]
    here.close()
    here.settings_dict["NAME"] = "mia_apart_nowhere"
    here.close_pool()
    try:
        health.check_postgresql()
    except OperationalError:
        here.close_pool()
        here.settings_dict["NAME"] = "mia_apart_two"
    else:
        raise AssertionError("a database that is away was not missed")

    # What fails is undone in both.
    try:
        with business_scope(one.pk):
            Source.objects.all().delete()
            Business.objects.filter(pk=one.pk).update(name="Renamed")
            raise RuntimeError("on purpose")
    except RuntimeError:
        with business_scope(one.pk):
            assert Source.objects.count() == 1
            assert Business.objects.get(pk=one.pk).name != "Renamed"

    # No foreign key leads out, so a departed business is forgotten by a duty.
    with platform_scope():
        Business.objects.filter(pk=one.pk).delete()
    with platform_scope():
        duties.forget_the_departed(now=timezone.now())
        assert set(Chunk.objects.values_list("business_id", flat=True)) == {other.pk}
    for alias in connections:
        connections[alias].close_pool()
    print("apart", os.getpid())
