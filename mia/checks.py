"""System checks: what must not go into production, and what breaks quietly when it is set up otherwise.

mia.E001 SECRET_KEY · E002 DEBUG · E003 ALLOWED_HOSTS · E004, W004 the database role · E005 the channel layer ·
E006 RQ's serializer · E007 outbound requests to private addresses
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as AnyDatabaseError
from django.db import connections

SHORTEST_SECRET_KEY: Final = 50
FEWEST_CHARACTERS: Final = 5
CHANNEL_LAYER: Final = "channels_redis.pubsub.RedisPubSubChannelLayer"
JSON_SERIALIZER: Final = "rq.serializers.JSONSerializer"
ROLE_SQL: Final = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"

Apps = Sequence[AppConfig] | None


@register(Tags.security)
def check_secret_key(app_configs: Apps, **_options: object) -> list[CheckMessage]:
    """Everything that is signed is as good as this key."""
    key = str(settings.SECRET_KEY)
    weak = len(key) < SHORTEST_SECRET_KEY or len(set(key)) < FEWEST_CHARACTERS or key.startswith("django-insecure-")
    if not (_in_production() and weak):
        return []
    hint = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
    return [Error("SECRET_KEY is short, simple or a default.", hint=hint, id="mia.E001")]


@register(Tags.security)
def check_debug(app_configs: Apps, **_options: object) -> list[CheckMessage]:
    """Debug pages show settings and local variables to anybody who causes an error."""
    if not (_in_production() and settings.DEBUG):
        return []
    return [Error("DEBUG is on in production.", hint="Unset DEBUG, or set APP_ENV=development.", id="mia.E002")]


@register(Tags.security)
def check_allowed_hosts(app_configs: Apps, **_options: object) -> list[CheckMessage]:
    """A wildcard lets a forged Host header into links and caches."""
    if not _in_production() or (settings.ALLOWED_HOSTS and "*" not in settings.ALLOWED_HOSTS):
        return []
    hint = "Set ALLOWED_HOSTS to the names that this platform is reached by, separated by commas."
    return [Error("ALLOWED_HOSTS is empty or a wildcard.", hint=hint, id="mia.E003")]


@register(Tags.database)
def check_database_role(app_configs: Apps, databases: Iterable[str] | None, **_options: object) -> list[CheckMessage]:
    """The walls between businesses are row security, which some roles walk through."""
    return [problem for alias in databases or () for problem in _role_problems(alias)]


@register(Tags.security, deploy=True)
def check_database_role_for_deployment(app_configs: Apps, **_options: object) -> list[CheckMessage]:
    """The same under `check --deploy`, which does not open the database of its own accord."""
    return [problem for alias in connections for problem in _role_problems(alias)]


@register()
def check_channel_layer(app_configs: Apps, **_options: object) -> list[CheckMessage]:
    """The core layer drops idle sockets under today's redis-py, and so does any layer without a socket timeout."""
    layer: Mapping[str, object] = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {})
    problems: list[CheckMessage] = []
    if layer.get("BACKEND") != CHANNEL_LAYER:
        hint = f"Set CHANNEL_LAYERS['default']['BACKEND'] to {CHANNEL_LAYER}."
        problems.append(Error("The channel layer is not the pub/sub one.", hint=hint, id="mia.E005"))
    elif not all(isinstance(host, Mapping) and host.get("socket_timeout") for host in _hosts(layer)):
        hint = "Give each of the layer's hosts as {'address': …, 'socket_timeout': 30}."
        problems.append(Error("The channel layer has no explicit socket timeout.", hint=hint, id="mia.E005"))
    return problems


@register(Tags.security)
def check_rq_serializer(app_configs: Apps, **_options: object) -> list[CheckMessage]:
    """With RQ's own choice, pickle, whoever can write to Redis runs code in every worker."""
    shared = getattr(settings, "RQ", {}).get("SERIALIZER")
    queues: Mapping[str, Mapping[str, object]] = getattr(settings, "RQ_QUEUES", {})
    unsafe = [name for name, queue in queues.items() if queue.get("SERIALIZER", shared) != JSON_SERIALIZER]
    if not unsafe and shared == JSON_SERIALIZER:
        return []
    hint = f"Set SERIALIZER to {JSON_SERIALIZER} in RQ and in every queue of RQ_QUEUES."
    return [Error(f"RQ would unpickle jobs ({', '.join(unsafe) or 'RQ'}).", hint=hint, id="mia.E006")]


@register(Tags.security)
def check_outbound(app_configs: Apps, **_options: object) -> list[CheckMessage]:
    """Addresses come from customers, so private ones are the platform's own services."""
    if not (_in_production() and (settings.OUTBOUND_ALLOW_PRIVATE or settings.OUTBOUND_LOOPBACK_NETWORKS)):
        return []
    hint = "Unset OUTBOUND_ALLOW_PRIVATE and OUTBOUND_LOOPBACK_NETWORKS."
    return [Error("Outbound requests may reach private addresses.", hint=hint, id="mia.E007")]


def _in_production() -> bool:
    return str(settings.APP_ENV) == "production"


def _hosts(layer: Mapping[str, object]) -> Sequence[object]:
    config = layer.get("CONFIG")
    hosts = config.get("hosts") if isinstance(config, Mapping) else None
    return hosts if isinstance(hosts, Sequence) and hosts else [None]


def _role_problems(alias: str) -> list[CheckMessage]:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(ROLE_SQL)
            row = cursor.fetchone()
    except AnyDatabaseError:
        hint = "Run the check again where the database can be reached."
        return [Warning(f"The role of database {alias!r} could not be looked at.", hint=hint, id="mia.W004")]
    if row is not None and not row[0]:
        return []
    hint = "CREATE ROLE mia LOGIN NOSUPERUSER NOBYPASSRLS, give it the database, and use it in DATABASE_URL."
    return [Error(f"The role of database {alias!r} bypasses row security.", hint=hint, id="mia.E004")]
