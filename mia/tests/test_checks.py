"""Each system check finds what it is there for, says what to do, and is quiet otherwise."""

import pytest
from django.core.checks import Tags, run_checks
from django.db import connection

from mia import checks
from mia.lib.migrations import ForceRowSecurity

GOOD_KEY = "k3y-" + "abcdefghijklmnopqrstuvwxyz0123456789" * 2
LAYER = {
    "BACKEND": checks.CHANNEL_LAYER,
    "CONFIG": {"hosts": [{"address": "redis://localhost", "socket_timeout": 30}]},
}


@pytest.fixture
def production(settings):
    """A setup that every check is content with."""
    settings.APP_ENV = "production"
    settings.SECRET_KEY = GOOD_KEY
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["mia.example"]
    settings.CHANNEL_LAYERS = {"default": LAYER}
    settings.RQ = {"SERIALIZER": checks.JSON_SERIALIZER}
    settings.RQ_QUEUES = {"default": {"SERIALIZER": checks.JSON_SERIALIZER}}
    settings.OUTBOUND_ALLOW_PRIVATE = False
    return settings


def found(**options):
    """The ids of our messages, and that each says what to do."""
    messages = [message for message in run_checks(**options) if str(message.id).startswith("mia.")]
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


def test_a_good_setup_is_quiet(production):
    assert found() == []


def test_this_project_as_it_is_passes_its_own_checks(db):
    assert found(include_deployment_checks=True, databases=["default"]) == []


@pytest.mark.parametrize("key", ["short", "a" * 80, "ab" * 40, "django-insecure-" + GOOD_KEY])
def test_a_weak_secret_key_is_found_in_production_only(production, key):
    production.SECRET_KEY = key
    assert found() == ["mia.E001"]
    production.APP_ENV = "development"
    assert found() == []


def test_debug_is_found_in_production_only(production):
    production.DEBUG = True
    assert found() == ["mia.E002"]
    production.APP_ENV = "development"
    assert found() == []


@pytest.mark.parametrize("hosts", [["*"], ["mia.example", "*"], []])
def test_a_wildcard_host_is_found_in_production_only(production, hosts):
    production.ALLOWED_HOSTS = hosts
    assert found() == ["mia.E003"]
    production.APP_ENV = "development"
    assert found() == []


def test_private_outbound_addresses_are_found_in_production_only(production):
    production.OUTBOUND_ALLOW_PRIVATE = True
    assert found() == ["mia.E007"]
    production.APP_ENV = "test"
    assert found() == []


def test_listed_loopback_networks_are_found_in_production_only(production):
    production.OUTBOUND_LOOPBACK_NETWORKS = ["127.0.0.2/32"]
    assert found() == ["mia.E007"]
    production.APP_ENV = "test"
    assert found() == []


@pytest.mark.parametrize(
    "layer",
    [
        {},
        {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        LAYER | {"BACKEND": "channels_redis.core.RedisChannelLayer"},
        LAYER | {"CONFIG": {}},
        LAYER | {"CONFIG": {"hosts": []}},
        LAYER | {"CONFIG": {"hosts": ["redis://localhost"]}},
        LAYER | {"CONFIG": {"hosts": [{"address": "redis://localhost"}]}},
        LAYER | {"CONFIG": {"hosts": [*LAYER["CONFIG"]["hosts"], {"address": "redis://other"}]}},
    ],
)
def test_a_channel_layer_that_drops_sockets_is_found_everywhere(production, layer):
    production.CHANNEL_LAYERS = {"default": layer}
    production.APP_ENV = "development"
    assert found() == ["mia.E005"]


@pytest.mark.parametrize(
    ("shared", "queues"),
    [
        ({}, {"default": {}}),
        ({}, {"default": {"SERIALIZER": checks.JSON_SERIALIZER}}),
        ({"SERIALIZER": "rq.serializers.DefaultSerializer"}, {"default": {"SERIALIZER": checks.JSON_SERIALIZER}}),
        ({"SERIALIZER": checks.JSON_SERIALIZER}, {"default": {"SERIALIZER": "rq.serializers.DefaultSerializer"}}),
        ({"SERIALIZER": checks.JSON_SERIALIZER}, {"default": {}, "slow": {"SERIALIZER": "pickle"}}),
    ],
)
def test_a_queue_that_unpickles_is_found_everywhere(production, shared, queues):
    production.RQ, production.RQ_QUEUES = shared, queues
    production.APP_ENV = "development"
    assert found() == ["mia.E006"]


def test_a_queue_inherits_the_shared_serializer(production):
    production.RQ_QUEUES = {"default": {}}
    assert found() == []


class TestDatabaseRole:
    """With a real superuser's connection: the one that the test server was made with."""

    @pytest.fixture
    def superuser(self, transactional_db):
        settings, before = connection.settings_dict, dict(connection.settings_dict)
        connection.close_pool()
        connection.close()
        settings["USER"] = "postgres"
        settings["OPTIONS"] = {}
        yield
        connection.close()
        settings.update(before)

    def test_the_role_of_the_tests_is_bound_by_row_security(self, db):
        assert checks._role_problems("default") == []

    def test_a_superuser_is_found_when_the_database_is_checked(self, superuser):
        messages = run_checks(tags=[Tags.database], databases=["default"])
        assert [message.id for message in messages if str(message.id).startswith("mia.")] == ["mia.E004"]

    def test_a_superuser_is_found_before_a_deployment(self, superuser):
        messages = checks.check_database_role_for_deployment(None)
        assert [(message.id, message.is_serious()) for message in messages] == [("mia.E004", True)]

    def test_what_is_found_is_true(self, superuser):
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE wall (id int, business_id bigint NOT NULL)")
            cursor.execute("INSERT INTO wall VALUES (1, 1)")
        with connection.schema_editor() as editor:
            ForceRowSecurity("wall").apply(editor)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM wall")
            assert cursor.fetchone() == (1,)

    def test_without_the_database_option_no_database_is_opened(self, production, django_assert_num_queries, db):
        with django_assert_num_queries(0):
            assert found() == []

    def test_a_database_that_cannot_be_reached_is_said(self, transactional_db):
        settings, before = connection.settings_dict, dict(connection.settings_dict)
        connection.close_pool()
        connection.close()
        settings["HOST"] = "/nowhere"
        settings["OPTIONS"] = {}
        try:
            messages = checks.check_database_role_for_deployment(None)
        finally:
            connection.close()
            settings.update(before)
        assert [(message.id, message.is_serious()) for message in messages] == [("mia.W004", False)]
