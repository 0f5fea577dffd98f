"""Every setting of MIA, grouped by what reads it; values come from the environment through `mia.env`."""

from datetime import timedelta
from pathlib import Path

import django_stubs_ext
from django.templatetags.static import static
from django.urls import reverse_lazy

from mia import env
from mia.lib.logging import logging_config

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

# --- Where and how it runs
APP_ENV = env.choice("APP_ENV", frozenset({"development", "test", "production"}), "production")
PRODUCTION = APP_ENV == "production"
DEBUG = env.boolean("DEBUG", default=False)
SECRET_KEY = env.secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")
PUBLIC_URL = env.address("PUBLIC_URL")
PORT = env.integer("PORT", 8000)
WEB_THREADS = env.integer("WEB_THREADS", 16)
MAX_BODY_BYTES = env.integer("MAX_BODY_BYTES", 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0)

ROOT_URLCONF = "mia.urls"
ASGI_APPLICATION = "mia.asgi.application"
WSGI_APPLICATION = "mia.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "mia.apps.MiaAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "mia.apps.MiaConfig",  # Before django_rq, whose rqworker it replaces.
    "django_rq",
    "accounts",
    "miners",
    "knowledge",
    "chats",
]

MIDDLEWARE = [
    "mia.lib.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "mia.lib.middleware.SecurityHeadersMiddleware",
    "mia.lib.middleware.BodyLimitMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "accounts.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "accounts.middleware.StaffScopeMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "mia" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- PostgreSQL: a pool per process for requests, and a small one for the hot lane
DATABASE_POOL_SIZE = env.integer("DATABASE_POOL_SIZE", 20)
HOT_POOL_SIZE = env.integer("HOT_POOL_SIZE", 6)
DATABASES = {"default": env.postgres("DATABASE_URL", "postgresql://mia@localhost/mia")}
DATABASES["default"]["OPTIONS"] = {
    **DATABASES["default"]["OPTIONS"],  # type: ignore[dict-item]
    "pool": {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 5},
    "connect_timeout": 5,
}
# Sources, documents and vectors may have a PostgreSQL of their own: no foreign key leaves their app.
KNOWLEDGE_DATABASE_URL = env.secret("KNOWLEDGE_DATABASE_URL")
if KNOWLEDGE_DATABASE_URL:
    DATABASES["knowledge"] = env.postgres("KNOWLEDGE_DATABASE_URL", "")
    DATABASES["knowledge"]["OPTIONS"] = {
        **DATABASES["knowledge"]["OPTIONS"],  # type: ignore[dict-item]
        "pool": {"min_size": 0, "max_size": DATABASE_POOL_SIZE, "timeout": 5},
        "connect_timeout": 5,
    }
DATABASE_ROUTERS = ["knowledge.databases.KnowledgeRouter"]

# --- Redis: wake-ups, token streams, rate limits, queues; nothing that may not vanish
REDIS_URL = env.secret("REDIS_URL", "redis://localhost:6379/0")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # redis-py's own default drops idle sockets every five seconds.
        "CONFIG": {
            "hosts": [{"address": REDIS_URL, "socket_timeout": 30, "socket_connect_timeout": 2}],
            "prefix": "mia:layer",
        },
    },
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "mia"}
}
RQ_QUEUES = {
    "default": {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 600, "SERIALIZER": "rq.serializers.JSONSerializer"},
    "training": {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 1800, "SERIALIZER": "rq.serializers.JSONSerializer"},
}
RQ_SHOW_ADMIN_LINK = False  # Its pages are at /admin/rq/, where only superusers come in.
RQ = {"SERIALIZER": "rq.serializers.JSONSerializer", "COMMIT_MODE": "on_db_commit"}

# --- Accounts
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_COOKIES = env.boolean("SECURE_COOKIES", default=PRODUCTION)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
SECURE_SSL_REDIRECT = env.boolean("SECURE_SSL_REDIRECT", default=PRODUCTION)
SECURE_REDIRECT_EXEMPT = [r"^health"]
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", 31_536_000 if PRODUCTION else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
SECURE_REFERRER_POLICY = "strict-origin-when-cross-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "mia.handlers.csrf_failure"

# --- The network
MINER_REGISTRATION = env.choice("MINER_REGISTRATION", frozenset({"token", "open"}), "token")
METRICS_PUBLIC = env.boolean("METRICS_PUBLIC", default=False)
METRICS_TOKEN = env.secret("METRICS_TOKEN")
# What the dispatcher does for the apps above it: a function that takes `now`, and how often, in seconds.
DISPATCHER_DUTIES = {
    "knowledge.duties.revive_trainings": 10.0,
    "knowledge.duties.queue_due_refreshes": 30.0,
    "knowledge.duties.give_up_uploads": 300.0,
    "knowledge.duties.forget_the_departed": 3600.0,
    "knowledge.drafting.retest_due": 10.0,
    "knowledge.gaps.gather_due": 30.0,
    "knowledge.receipts.forget_old_receipts": 3600.0,
    "knowledge.versions.drop_all_replaced": 600.0,
    "chats.services.forget_old_idempotency_keys": 3600.0,
    "chats.webhooks.duties.queue_due": 5.0,
    "chats.webhooks.duties.forget_old_messages": 3600.0,
    "chats.channels.duties.poll_due": 2.0,
    "chats.channels.duties.deliver_due": 5.0,
    "chats.channels.duties.forget_ignored": 3600.0,
}
METRICS_PROVIDERS = ["miners.metrics.collect"]
# Who words a canary, so that a miner cannot tell it from what it looks like.
CANARY_PROMPT = "chats.canaries.canary_prompt"

# --- Embeddings and retrieval
EMBEDDING_PROVIDER = env.choice(
    "EMBEDDING_PROVIDER", frozenset({"hashed", "openai", "local", "network", "scripted"}), "hashed"
)
EMBEDDING_MODEL = env.text("EMBEDDING_MODEL", "intfloat/multilingual-e5-small")
EMBEDDING_MODEL_VERSION = env.text("EMBEDDING_MODEL_VERSION", "1")
EMBEDDING_DIMENSIONS = env.integer("EMBEDDING_DIMENSIONS", 384)
EMBEDDING_QUERY_PREFIX = env.text("EMBEDDING_QUERY_PREFIX", "query:")
EMBEDDING_PASSAGE_PREFIX = env.text("EMBEDDING_PASSAGE_PREFIX", "passage:")
EMBEDDING_URL = env.text("EMBEDDING_URL")
EMBEDDING_API_KEY = env.secret("EMBEDDING_API_KEY")
EMBEDDING_MODEL_DIR = env.text("EMBEDDING_MODEL_DIR")
EMBEDDING_THREADS = env.integer("EMBEDDING_THREADS", 1)
KNOWLEDGE_EXACT_SCAN_CHUNKS = env.integer("KNOWLEDGE_EXACT_SCAN_CHUNKS", 20_000)
RERANK_MODEL = env.text("RERANK_MODEL")
RECEIPT_DAYS = env.integer("RECEIPT_DAYS", 90)

# --- Knowledge
TRAINING_READERS = env.integer("TRAINING_READERS", 2)
TRAINING_SLICE_S = env.integer("TRAINING_SLICE_S", 120)
# Knowledge may not import chats, whose bots it teaches: a function that gives the bots of a business, or of all.
BOT_DIRECTORY = "chats.bots.names_of_bots"
FILES_DIRECTORY = Path(env.text("FILES_DIRECTORY") or BASE_DIR / ".mia" / "files")
R2_ACCOUNT_ID = env.text("R2_ACCOUNT_ID")
ACCESS_KEY_ID = env.text("ACCESS_KEY_ID")
SECRET_ACCESS_KEY = env.secret("SECRET_ACCESS_KEY")
CLOUDFLARE_R2_BASE_URL = env.text("CLOUDFLARE_R2_BASE_URL")
R2_API_KEY_TOKEN = env.secret("R2_API_KEY_TOKEN")
R2_BUCKET = env.text("R2_BUCKET", "mia")
S3_ENDPOINT_URL = env.text("S3_ENDPOINT_URL")
S3_REGION = env.text("S3_REGION", "auto")

# --- Chats
DEMO_PUBLISHABLE_KEY = env.text("DEMO_PUBLISHABLE_KEY")

# --- Outbound HTTP
OUTBOUND_ALLOWED_PORTS = [int(port) for port in env.items("OUTBOUND_ALLOWED_PORTS", "80,443")]
OUTBOUND_ALLOW_PRIVATE = env.boolean("OUTBOUND_ALLOW_PRIVATE", default=False)
OUTBOUND_LOOPBACK_NETWORKS = env.items("OUTBOUND_LOOPBACK_NETWORKS")
TELEGRAM_API_URL = env.text("TELEGRAM_API_URL", "https://api.telegram.org").rstrip("/")
OUTBOUND_USER_AGENT = env.text("OUTBOUND_USER_AGENT", "MIA/0.1")

# --- API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.KeyAuthentication",
        "accounts.authentication.JwtAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.HasAllowedKind"],
    "DEFAULT_RENDERER_CLASSES": ["mia.lib.api.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["mia.lib.api.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "mia.lib.api.exception_handler",
    "NUM_PROXIES": TRUSTED_PROXY_COUNT,
    # `?format=` is no way to ask for a representation here; DRF would answer 404.
    "URL_FORMAT_OVERRIDE": None,
    "LIST_SERIALIZER_ERRORS_AS_DICT": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "MIA",
    "DESCRIPTION": (
        "AI customer support answered by a network of independently owned GPUs.\n\n"
        "**First call.** Make a secret key in the admin (Team › API keys), send it as `Authorization: Bearer mia_sk_…` "
        'and `POST /chat?wait=30` with `{"message": "Hello"}`; or point any OpenAI client at `/v1`.\n\n'
        "**Errors** are `{detail, error_code, timestamp}`. 429 and 503 say in `Retry-After` when to try again."
    ),
    "TAGS": [
        {"name": "chat", "description": "Conversations of visitors: ask, follow, rate, ask for a human."},
        {"name": "openai", "description": "What OpenAI's clients speak; errors carry an `error` object as well."},
    ],
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_NAME_OVERRIDES": {
        "MinerStatus": "miners.choices.MinerStatus",
        "ResultStatus": "miners.serializers.RESULT_STATUSES",
        "ChatReplyStatus": "chats.serializers.REPLY_STATUSES",
        "JobStatus": "chats.serializers.JOB_STATUSES",
        "ConversationStatus": "chats.choices.Status",
        "SourceStatus": "knowledge.choices.SourceStatus",
        "SourceKind": "knowledge.choices.SourceKind",
        "GivenSourceKind": "knowledge.serializers.GIVEN_KINDS",
        "TrainingStatus": "knowledge.choices.TrainingStatus",
        "TrainingStage": "knowledge.choices.TrainingStage",
        "HealthStatus": "mia.health.HEALTH_STATUSES",
    },
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "mia.schema.add_error_responses"],
    "PREPROCESSING_HOOKS": ["mia.schema.add_hot_lane"],
}

# The server takes no more than this of a body before Django sees the request: files come in here.
BODY_LIMITS = {"/api/training/upload/": 26_000_000, "/admin/knowledge/source/": 26_000_000}

# --- Static files and the admin
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "mia" / "static"]
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_MAX_AGE = 3600
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "knowledge": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "access_key": ACCESS_KEY_ID,
            "secret_key": SECRET_ACCESS_KEY,
            "bucket_name": R2_BUCKET,
            "endpoint_url": S3_ENDPOINT_URL or f"https://{R2_ACCOUNT_ID}.r2.cloudflarestorage.com",
            "region_name": S3_REGION,
            "signature_version": "s3v4",
            "addressing_style": "path",
            "file_overwrite": True,
            "default_acl": None,
            "querystring_auth": True,
        },
    }
    if R2_ACCOUNT_ID or S3_ENDPOINT_URL
    else {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": FILES_DIRECTORY}},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
UNFOLD = {
    "SITE_TITLE": "MIA",
    "SITE_HEADER": "MIA",
    "SITE_SUBHEADER": "Customer support on independent GPUs",
    "SITE_SYMBOL": "forum",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("mia/icon.svg")}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "LOGIN": {"form": "accounts.login.LoginForm"},
    "ENVIRONMENT": "mia.admin.environment_label",
    "DASHBOARD_CALLBACK": "mia.admin.dashboard",
    "STYLES": [lambda request: static("mia/admin.css")],
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": "mia.admin.navigation",
    },
}

# --- Logs
LOG_LEVEL = env.choice("LOG_LEVEL", frozenset({"DEBUG", "INFO", "WARNING", "ERROR"}), "INFO")
LOG_FORMAT = env.choice("LOG_FORMAT", frozenset({"json", "console"}), "json" if PRODUCTION else "console")
LOGGING = logging_config(LOG_LEVEL, LOG_FORMAT)
