"""Every setting of the controller, in sections; `.env.example` lists the variables with their meaning.

The environment (and a `.env` beside `manage.py`) decides; wrong combinations are stopped by `moolai/checks.py`.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from corsheaders.defaults import default_headers

from moolai.environment import database, database_url, env, first, flag, items, kept_secret, number, role_keys

BASE_DIR = Path(__file__).resolve().parent.parent
env.read_env(BASE_DIR / ".env")

# --- Where and how -----------------------------------------------------------------------------------------------
VERSION = "0.1.0"
ENVIRONMENT = first("ENVIRONMENT", default="development")
IS_PRODUCTION = ENVIRONMENT == "production"
DEBUG = flag("DEBUG")
DATA_DIR = Path(first("DATA_DIR", default=str(BASE_DIR / "data"))).resolve()
HOST = first("HOST", "CONTROLLER_HOST", default="127.0.0.1")
PORT = number("PORT", "CONTROLLER_PORT", default=8000)
DATA_DIR.mkdir(parents=True, exist_ok=True)

# --- Secrets: generated once and kept in DATA_DIR in development, required in production (checks.py) ---------------
# ("missing" lets the checks say what to set, in one sentence instead of Django's traceback)
SECRET_KEY = first("SECRET_KEY") or ("missing" if IS_PRODUCTION else kept_secret(DATA_DIR / "secret_key"))
ENCRYPTION_KEY = first("ENCRYPTION_KEY") or ("" if IS_PRODUCTION else kept_secret(DATA_DIR / "encryption_key"))
DEV_BEARER_TOKEN = first("DEV_BEARER_TOKEN")
METRICS_TOKEN = first("METRICS_TOKEN")
MOOLAI_ADMIN_PASSWORD = first("MOOLAI_ADMIN_PASSWORD")

# --- Databases and Redis -----------------------------------------------------------------------------------------
DATABASE_POOL_SIZE = number("DATABASE_POOL_SIZE", default=10)
DATABASES: dict[str, Any] = {
    "default": database(
        database_url("DATABASE", "sqlite:///moolai.sqlite3"), data_dir=DATA_DIR, pool_size=DATABASE_POOL_SIZE
    )
}
if monitoring_url := database_url("MONITORING_DATABASE", ""):
    DATABASES["monitoring"] = database(monitoring_url, data_dir=DATA_DIR, pool_size=DATABASE_POOL_SIZE)
DATABASE_ROUTERS = ["moolai.routers.MonitoringRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = first("REDIS_URL")
CHANNEL_PREFIX = first("MOOLAI_CHANNEL_PREFIX", default="moolai")
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": CHANNEL_PREFIX},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

# --- Applications ------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    # daphne only replaces runserver, and would cost every other process 20 MB
    *(["daphne"] if "runserver" in sys.argv else []),
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin.apps.SimpleAdminConfig",  # moolai/urls.py discovers: only web needs the console
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "axes",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "moolai",
    "orgs",
    "orchestrators",
    "llm_gateway",
    "monitoring",
]
MIDDLEWARE = [
    "moolai.middleware.RequestLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "moolai.middleware.ContentSecurityPolicyMiddleware",
    "moolai.networks.AllowedNetworksMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "moolai.urls"
ASGI_APPLICATION = "moolai.asgi.application"
APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024  # moolai/parser.py has the limit of each path
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- People and access -------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "orgs.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = number("LOGIN_FAILURE_LIMIT", default=10)
AXES_COOLOFF_TIME = timedelta(seconds=number("LOGIN_LOCKOUT_SEC", default=900))
AXES_LOCKOUT_PARAMETERS = ["username", "ip_address"]  # either one too often is locked
AXES_RESET_ON_SUCCESS = True
AXES_HTTP_RESPONSE_CODE = 429
AXES_CLIENT_IP_CALLABLE = "orgs.signing_in.address"
AXES_LOCKOUT_CALLABLE = "orgs.signing_in.locked_out"
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AXES_DISABLE_ACCESS_LOG = True
ACCESS_TOKEN_SECONDS = number("ACCESS_TOKEN_SEC", default=900)
REFRESH_TOKEN_DAYS = number("REFRESH_TOKEN_DAYS", default=14)
SESSION_COOKIE_NAME = f"moolai_session_{PORT}"  # two instances on one host keep their own logins
CSRF_COOKIE_NAME = f"moolai_csrf_{PORT}"
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
ORCHESTRATOR_JWT_SECRET = first("ORCHESTRATOR_JWT_SECRET")
ORCHESTRATOR_API_KEYS = role_keys()
ALLOW_ANONYMOUS_REGISTRATION = flag("ALLOW_ANONYMOUS_REGISTRATION")
CONTROLLER_CONFIG_FILE = first("CONTROLLER_CONFIG_FILE")
DEFAULT_ORGANIZATION_ID = first("DEFAULT_ORGANIZATION_ID", default="org-001")
CORS_ALLOWED_ORIGINS = items("CORS_ALLOWED_ORIGINS")
CORS_ALLOW_HEADERS = [
    *default_headers, "x-api-key", "x-organization-id", "x-request-id", "idempotency-key", "if-match",
    "last-event-id", "openai-organization", "openai-beta", "anthropic-version", "anthropic-beta", "x-moolai-provider",
    "x-moolai-fallbacks", "x-moolai-no-fallback", "x-moolai-timeout", "x-moolai-retries", "x-moolai-stream-cost",
    "x-moolai-cache", "x-moolai-cache-ttl",
]  # fmt: skip
CORS_EXPOSE_HEADERS = [
    "etag", "idempotency-replayed", "retry-after", "x-request-id",
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
    "x-moolai-cost-usd", "x-moolai-provider", "x-moolai-cached",
]  # fmt: skip
ALLOWED_HOSTS = items("ALLOWED_HOSTS") or ([] if IS_PRODUCTION else ["localhost", "127.0.0.1", "[::1]", HOST])
TRUSTED_PROXIES = items("TRUSTED_PROXIES")
ADMIN_ALLOWED_CIDRS = items("ADMIN_ALLOWED_CIDRS")
OUTBOUND_ALLOWED_CIDRS = items("OUTBOUND_ALLOWED_CIDRS")
CSRF_FAILURE_VIEW = "moolai.console.lost.forged"
CSRF_TRUSTED_ORIGINS = items("CSRF_TRUSTED_ORIGINS")

STREAMS_MAX = number("STREAMS_MAX", default=5_000)  # open event streams of a web process (monitoring/streams)
STREAMS_PER_CALLER = number("STREAMS_PER_CALLER", default=20)  # … and of one credential's owner in it
RATE_LIMITS = {  # per credential (or address) and route; orgs/rates.py
    "API": first("RATE_LIMIT_API", default="600/minute"),
    "TASKS_CREATE": first("RATE_LIMIT_TASKS_CREATE", default="10/minute"),
    "TASKS_READ": first("RATE_LIMIT_TASKS_READ", default="30/minute"),
    "TASKS_UPDATE": first("RATE_LIMIT_TASKS_UPDATE", default="10/minute"),
    "EVENTS": first("RATE_LIMIT_EVENTS", default="20/minute"),
    "APPROVALS": first("RATE_LIMIT_APPROVALS", default="5/minute"),
    "STATS": first("RATE_LIMIT_STATS", default="30/minute"),
}

# --- Transport security ------------------------------------------------------------------------------------------
TLS_ENABLED = flag("TLS_ENABLED")
TLS_CERT_PATH = first("TLS_CERT_PATH")
TLS_KEY_PATH = first("TLS_KEY_PATH")
IS_SECURE = IS_PRODUCTION or TLS_ENABLED
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_SECURE
SECURE_HSTS_SECONDS = 31_536_000 if IS_PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_PRODUCTION
# Health checks and scrapes inside a cluster speak plain HTTP to the container, so they are not redirected.
SECURE_SSL_REDIRECT = IS_PRODUCTION and flag("SECURE_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_PROXY_SSL_HEADER = None  # the server takes the scheme from TRUSTED_PROXIES; Django would from anybody
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- The wire of HTTP (moolai/wire.py; sizes stand in moolai/parser.py) ------------------------------------------
HTTP_HEAD_TIMEOUT_SEC = number("HTTP_HEAD_TIMEOUT_SEC", default=10)
HTTP_BODY_TIMEOUT_SEC = number("HTTP_BODY_TIMEOUT_SEC", default=30)
HTTP_IDLE_TIMEOUT_SEC = number("HTTP_IDLE_TIMEOUT_SEC", default=30)
HTTP_MAX_WAITING = number("HTTP_MAX_WAITING", default=4_096)

# --- The gateway to models (docs/gateway.md): providers of all organizations, named as their SDKs name them ---------
_AZURE = first("AZURE_OPENAI_ENDPOINT").rstrip("/")
# name: (dialect, address, key, whether its calls cost nothing)
LLM_ENVIRONMENT: dict[str, tuple[str, str, str, bool]] = {
    "openai": ("openai", first("OPENAI_BASE_URL"), first("OPENAI_API_KEY"), False),
    "anthropic": ("anthropic", first("ANTHROPIC_BASE_URL"), first("ANTHROPIC_API_KEY"), False),
    "google": ("google", first("GOOGLE_BASE_URL"), first("GOOGLE_API_KEY", "GEMINI_API_KEY"), False),
    "azure": ("openai", _AZURE and f"{_AZURE}/openai/v1", first("AZURE_OPENAI_API_KEY"), False),
    "ollama": ("openai", first("OLLAMA_BASE_URL"), "", True),
    "vllm": ("openai", first("VLLM_BASE_URL"), first("VLLM_API_KEY"), True),
}
LLM_ECHO_ENABLED = flag("LLM_ECHO_ENABLED", default=not IS_PRODUCTION)
LLM_FIRST_BYTE_SECONDS = number("LLM_FIRST_BYTE_SEC", default=120)
LLM_IDLE_SECONDS = number("LLM_IDLE_SEC", default=60)
LLM_TOTAL_SECONDS = number("LLM_TOTAL_SEC", default=600)
LLM_RETRIES = number("LLM_RETRIES", default=2)
LLM_DEFAULT_MODEL = first("LLM_DEFAULT_MODEL")
LLM_DEFAULT_EMBEDDING_MODEL = first("LLM_DEFAULT_EMBEDDING_MODEL")
LLM_CACHE_BYTES = number("LLM_CACHE_BYTES", default=64 * 1024 * 1024)
LLM_CACHE_SHARED_BYTES = number("LLM_CACHE_SHARED_BYTES", default=256 * 1024 * 1024)

# --- The life of an orchestrator (PROTOCOL §1) -------------------------------------------------------------------
HEARTBEAT_TTL_SEC = number("HEARTBEAT_TTL_SEC", default=120)
HEARTBEAT_INTERVAL_SEC = number("HEARTBEAT_INTERVAL_SEC", default=max(1, min(30, HEARTBEAT_TTL_SEC // 4)))
HEARTBEAT_POKER_ENABLED = flag("HEARTBEAT_POKER_ENABLED")
INACTIVE_GRACE_SECONDS = 5  # an instance is inactive at TTL + 5 s
SWEEP_INTERVAL_SECONDS = 5
REGISTER_TIMEOUT_SECONDS = number("REGISTER_TIMEOUT_SEC", default=10)
WS_FRAMES_PER_SECOND = number("WS_FRAMES_PER_SECOND", default=20)
WS_FRAMES_BURST = number("WS_FRAMES_BURST", default=100)
WS_MAX_SESSIONS = number("WS_MAX_SESSIONS", default=20_000)
WS_LAG_SECONDS = number("WS_LAG_SECONDS", default=10)
WS_COMPRESSION = flag("WS_COMPRESSION")
MESSAGE_ACK_TIMEOUT_SEC = number("MESSAGE_ACK_TIMEOUT_SEC", default=15)
MESSAGE_MAX_ATTEMPTS = number("MESSAGE_MAX_ATTEMPTS", default=8)
MESSAGE_WINDOW = 32
MESSAGE_RETENTION_DAYS = number("MESSAGE_RETENTION_DAYS", default=30)
MESSAGE_DEDUPE_DAYS = number("MESSAGE_DEDUPE_DAYS", default=7)
EVENT_RETENTION_DAYS = number("EVENT_RETENTION_DAYS", default=30)
ALERT_GROUPING_SECONDS = number("ALERT_GROUPING_SECONDS", default=10)
ALERT_ESCALATION_MINUTES = number("ALERT_ESCALATION_MINUTES", default=15)
ALERT_RETENTION_DAYS = number("ALERT_RETENTION_DAYS", default=90)
RECONNECT_MIN_MS, RECONNECT_MAX_MS = 1_000, 30_000
SHUTDOWN_SPREAD_MS = number("SHUTDOWN_SPREAD_MS", default=5_000)
INDEPENDENCE_ENV_FILE = Path(first("INDEPENDENCE_ENV_FILE", default=str(DATA_DIR / "independence.env")))
INDEPENDENCE_JSON_FILE = Path(first("INDEPENDENCE_JSON_FILE", default=str(DATA_DIR / "orchestrator_independence.json")))

# --- Tasks (docs/tasks.md); 0 days keeps them, 0 hours or minutes is never -----------------------------------------
TASK_LEASE_SEC = number("TASK_LEASE_SEC", default=60)
TASK_MAX_ATTEMPTS = number("TASK_MAX_ATTEMPTS", default=3)
TASK_WINDOW = number("TASK_WINDOW", default=8)
TASK_THREADS = number("TASK_THREADS", default=4)
TASK_RETENTION_DAYS = number("TASK_RETENTION_DAYS", default=30)
APPROVAL_EXPIRES_HOURS = number("APPROVAL_EXPIRES_HOURS", default=24)
APPROVAL_ESCALATION_MINUTES = number("APPROVAL_ESCALATION_MINUTES", default=15)
APPROVAL_LINK_HOURS = number("APPROVAL_LINK_HOURS", default=24)

# --- Measurements (docs/monitoring.md); 0 days keeps them ---------------------------------------------------------
AUTO_COLLECT = flag("AUTO_COLLECT", default=True)
METRICS_COLLECTION_INTERVAL = max(1, number("METRICS_COLLECTION_INTERVAL", default=30))
METRICS_ROLLUP_SECONDS = 60
METRICS_RETENTION_DAYS = number("METRICS_RETENTION_DAYS", default=7)
METRICS_HOURLY_RETENTION_DAYS = number("METRICS_HOURLY_RETENTION_DAYS", default=90)
METRICS_DAILY_RETENTION_DAYS = number("METRICS_DAILY_RETENTION_DAYS", default=730)
REQUEST_METRICS_MINUTE_DAYS = number("REQUEST_METRICS_MINUTE_DAYS", default=3)
EXPORT_RETENTION_HOURS = number("EXPORT_RETENTION_HOURS", default=24)
EXPORT_MAX_ROWS = number("EXPORT_MAX_ROWS", default=1_000_000)
EXPORT_MAX_MB = number("EXPORT_MAX_MB", default=256)

# --- LLM gateway: money (docs/budgets.md); 0 days keeps rows ------------------------------------------------------
JOURNAL_DIR = DATA_DIR / "journal"
LLM_UNKNOWN_PRICE = first("LLM_UNKNOWN_PRICE", default="refuse")
LLM_ESTIMATED_INPUT_USD = first("LLM_ESTIMATED_INPUT_USD", default="15")
LLM_ESTIMATED_OUTPUT_USD = first("LLM_ESTIMATED_OUTPUT_USD", default="75")
LLM_RESERVE_OUTPUT_TOKENS = number("LLM_RESERVE_OUTPUT_TOKENS", default=16_384)
LLM_CALL_RETENTION_DAYS = number("LLM_CALL_RETENTION_DAYS", default=90)
LLM_SPENDING_RETENTION_DAYS = number("LLM_SPENDING_RETENTION_DAYS", default=730)
LLM_CONTENT_RETENTION_DAYS = number("LLM_CONTENT_RETENTION_DAYS", default=30)

# --- Celery: rows are the queue, a task is only a wake-up ---------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL or "embedded://"  # moolai/broker.py: files in DATA_DIR
if REDIS_URL:
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "global_keyprefix": f"{CHANNEL_PREFIX}.celery.",
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
else:
    for folder in ("queue", "control"):
        (DATA_DIR / "broker" / folder).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(DATA_DIR / "broker" / "queue"),
        "data_folder_out": str(DATA_DIR / "broker" / "queue"),
        "control_folder": str(DATA_DIR / "broker" / "control"),
        "polling_interval": 0.1,
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "moolai"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "orchestrators.sweep",
        "schedule": SWEEP_INTERVAL_SECONDS,
        "options": {"expires": SWEEP_INTERVAL_SECONDS * 2},
    },
    "alerts": {"task": "monitoring.alerts", "schedule": 10, "options": {"expires": 20}},
    "prune": {"task": "orchestrators.prune", "schedule": 600, "options": {"expires": 600}},
    "jobs": {
        "task": "orchestrators.jobs",
        "schedule": SWEEP_INTERVAL_SECONDS,
        "options": {"expires": SWEEP_INTERVAL_SECONDS * 2},
    },
    "tasks": {
        "task": "orchestrators.work",
        "schedule": SWEEP_INTERVAL_SECONDS,
        "options": {"expires": SWEEP_INTERVAL_SECONDS * 2},
    },
    "journals": {"task": "llm_gateway.journals", "schedule": 30, "options": {"expires": 60}},
    "rollups": {
        "task": "monitoring.rollup",
        "schedule": METRICS_ROLLUP_SECONDS,
        "options": {"expires": METRICS_ROLLUP_SECONDS * 2},
    },
    "deliveries": {
        "task": "monitoring.deliveries",
        "schedule": SWEEP_INTERVAL_SECONDS,
        "options": {"expires": SWEEP_INTERVAL_SECONDS * 2},
    },
}
if AUTO_COLLECT:
    CELERY_BEAT_SCHEDULE["collect"] = {
        "task": "monitoring.collect",
        "schedule": METRICS_COLLECTION_INTERVAL,
        "options": {"expires": METRICS_COLLECTION_INTERVAL},
    }
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
DJANGO_CELERY_BEAT_TZ_AWARE = True

# --- API ---------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "orgs.authentication.BearerAuthentication",
        "orgs.authentication.ConsoleSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer", "orgs.browsable.PageRenderer"],
    "DEFAULT_SCHEMA_CLASS": "moolai.openapi.schema.Schema",
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "moolai.errors.handle_drf",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {  # the document itself stands in moolai/openapi/
    "TITLE": "moolai",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "DEFAULT_GENERATOR_CLASS": "moolai.openapi.document.Generator",
    "POSTPROCESSING_HOOKS": ["moolai.openapi.document.complete"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENABLE_DJANGO_DEPLOY_CHECK": False,  # tests/test_openapi.py asks for more
}

# --- Time, language, static files --------------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
STATIC_URL = "static/"
STATIC_ROOT = Path(first("STATIC_ROOT", default=str(DATA_DIR / "static")))
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns where it is missing
STATICFILES_DIRS = [BASE_DIR / "moolai" / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

# --- Mail --------------------------------------------------------------------------------------------------------
if email_url := first("EMAIL_URL"):
    vars().update({key: value for key, value in env.email_url_config(email_url).items() if key.startswith("EMAIL_")})
else:
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
DEFAULT_FROM_EMAIL = first("EMAIL_FROM", default="moolai@localhost")
EMAIL_TIMEOUT = 10
PAGERDUTY_BASE_URL = first("PAGERDUTY_BASE_URL", default="https://events.pagerduty.com")
PUBLIC_URL = first("PUBLIC_URL").rstrip("/")

# --- Logs and errors ---------------------------------------------------------------------------------------------
LOG_LEVEL = first("LOG_LEVEL", default="INFO").upper()
LOG_FORMAT = first("LOG_FORMAT", default="auto")  # auto: JSON unless standard output is a terminal
LOGGING_CONFIG = None  # moolai/logs.py configures structlog and the standard library once, in moolai/apps.py
SENTRY_DSN = first("SENTRY_DSN")
# Read by OpenTelemetry itself, with its other variables; here only whether there is somebody to tell.
OTEL_TRACES_ENABLED = not flag("OTEL_SDK_DISABLED") and bool(
    first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
)
OTEL_SERVICE_NAME = first("OTEL_SERVICE_NAME", default="moolai")

# --- Console -----------------------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "moolai",
    "SITE_HEADER": "moolai",
    "SITE_SUBHEADER": "Control plane for LLM orchestrators",
    "SITE_ICON": "moolai.console.navigation.mark",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "moolai.console.navigation.mark"}],
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "8px",
    "COLORS": {
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(67.3% .182 276.935)",
            "500": "oklch(58.5% .233 277.117)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        },
    },
    "STYLES": [
        "moolai.console.navigation.styles",
        "moolai.console.navigation.gateway_styles",
        "moolai.console.navigation.work_styles",
    ],
    "SCRIPTS": ["moolai.console.navigation.live"],
    "DASHBOARD_CALLBACK": "moolai.console.front_page.context",
    "ENVIRONMENT": "moolai.console.navigation.environment_badge",
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": "moolai.console.navigation.sidebar",
    },
}
