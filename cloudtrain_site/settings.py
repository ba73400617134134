"""Django settings, read from the environment; SQLite and the local provider by default."""

from __future__ import annotations

import logging
import os
import sys
from datetime import timedelta

import django_stubs_ext
from csp.constants import NONE, SELF

from cloudtrain_site import __version__
from cloudtrain_site.conf import places
from cloudtrain_site.conf.data_folder import kept_secret_key, make_folder
from cloudtrain_site.conf.database import database_settings
from cloudtrain_site.conf.environment import Environment, path_of
from cloudtrain_site.conf.occupancy import SERVING, enter
from cloudtrain_site.conf.web_processes import web_processes

django_stubs_ext.monkeypatch()

env = Environment()

DATA_DIR = path_of(env.str("SIMPLETUNER_DATA_DIR", default=str(places.default_data_dir()))).resolve()

# "web" serves requests, "worker" is everything else: it decides how database connections are kept.
ROLE = env.str("CLOUDTRAIN_ROLE", default="worker")

DEBUG = env.switch("DEBUG", default=False)
_command = "".join(sys.argv[1:2])
enter(DATA_DIR, serves=ROLE == "web" or _command in SERVING, command=_command)
make_folder(DATA_DIR)
# Read without django-environ: it would expand a key that begins with a dollar sign.
SECRET_KEY = os.environ.get("SECRET_KEY") or kept_secret_key(DATA_DIR, makes_one=_command != "restore")
# Former keys: values encrypted or signed under them can still be read.
SECRET_KEY_FALLBACKS = os.environ.get("SECRET_KEY_FALLBACKS", "").split()
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Proxies, besides those on this machine, whose X-Forwarded-For and X-Forwarded-Proto are trusted.
TRUSTED_PROXIES = env.networks("CLOUDTRAIN_TRUSTED_PROXIES")
# From where Prometheus scrapes without a key.
METRICS_NETWORKS = env.networks("CLOUDTRAIN_METRICS_NETWORKS")
# Private networks, of which notices may call addresses.
NOTICE_NETWORKS = env.networks("CLOUDTRAIN_NOTICE_NETWORKS")
# Hosts of chat services that the operator runs or trusts.
NOTICE_CHAT_HOSTS = [host.casefold() for host in env.list("CLOUDTRAIN_NOTICE_CHAT_HOSTS", default=[])]

OWN_APPS = [
    *("approvals", "queueing", "jobs.apps.JobsConfig", "cloudtrain_site.apps.SiteConfig"),
    "cloudtrain_site.notices.apps.NoticesConfig",
]
INSTALLED_APPS = [
    # Our rooms come first, so that their templates win over Django's.
    *OWN_APPS,
    "jobs.apps.CloudtrainAdminConfig",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.usersessions",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "django_q",
    "knox",
    "django_eventstream",
    "django_structlog",
]

MIDDLEWARE = [
    # First, so that even a response made by another middleware carries its correlation id.
    "cloudtrain_site.correlation.CorrelationMiddleware",
    "cloudtrain_site.serving.no_store.no_store",
    "django.middleware.security.SecurityMiddleware",
    "cloudtrain_site.serving.content_policy.ContentPolicyMiddleware",
    "cloudtrain_site.serving.static_files.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "cloudtrain_site.accounts.sessions.SessionMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "cloudtrain_site.accounts.remote_user.RemoteUserMiddleware",
    "cloudtrain_site.accounts.second_factor.demand.SecondFactorDemanded",
    "cloudtrain_site.serving.page_owner.same_reader",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "cloudtrain_site.serving.failures.FailureMiddleware",
    "cloudtrain_site.limits.pages.PausedMiddleware",
]

# ASGI applications in front of Django, each called with the next one.
FRONTS = ["jobs.webhooks.asgi.WebhookEndpoint", "cloudtrain_site.events.asgi.StreamEndpoint"]
# Called once in a thread of the web process, so that no request waits for their results.
WARM_UP = ["jobs.webhooks.signing_secret.fetch_early"]

ROOT_URLCONF = "cloudtrain_site.urls"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [places.TEMPLATES],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "cloudtrain_site.accounts.themes.theme_of",
            ],
        },
    },
]

# Templates of form fields may be ours too.
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

DATABASES = {"default": database_settings(env, data_dir=DATA_DIR, role=ROLE)}
WEB_PROCESSES = web_processes(env, DATABASES["default"]["ENGINE"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTHENTICATION_BACKENDS = [
    "cloudtrain_site.accounts.sso.passwords.LocalPasswordsBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    # The length that OWASP's verification standard asks for.
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "cloudtrain_site.accounts.passwords.LongWithoutNamesValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "cloudtrain_site.accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "cloudtrain_site.accounts.forms.SignInForm",
    "change_password": "cloudtrain_site.accounts.forms.NewPasswordForm",
    "reset_password": "cloudtrain_site.accounts.forms.ForgottenPasswordForm",
    "user_token": "cloudtrain_site.accounts.forms.LinkForm",
    "reset_password_from_key": "cloudtrain_site.accounts.forms.PasswordOfLinkForm",
}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_ENABLED = False
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
# A mail address has to be confirmed to sign in by it, not to sign in at all.
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_CHANGE_EMAIL = True
# A link that sets a new password, in seconds.
PASSWORD_RESET_TIMEOUT = 3600
ACCOUNT_SESSION_REMEMBER = True
# They count in a cache, and each process has its own: cloudtrain_site/accounts/brakes.py counts in the database.
ACCOUNT_RATE_LIMITS = False

ACCOUNT_REAUTHENTICATION_METHODS = {"password", "mfa"}
SOCIALACCOUNT_REAUTHENTICATION_REQUIRED = True
MFA_ADAPTER = "cloudtrain_site.accounts.second_factor.adapter.SecondFactorAdapter"
MFA_FORMS = {
    "activate_totp": "cloudtrain_site.accounts.second_factor.forms.AddAppForm",
    "authenticate": "cloudtrain_site.accounts.second_factor.forms.SignInCodeForm",
    "reauthenticate": "cloudtrain_site.accounts.second_factor.forms.ConfirmCodeForm",
    "add_webauthn": "cloudtrain_site.accounts.second_factor.passkey_forms.AddPasskeyForm",
    "authenticate_webauthn": "cloudtrain_site.accounts.second_factor.passkey_forms.SecondStepPasskeyForm",
    "login_webauthn": "cloudtrain_site.accounts.second_factor.passkey_forms.SignInPasskeyForm",
    "reauthenticate_webauthn": "cloudtrain_site.accounts.second_factor.passkey_forms.ConfirmPasskeyForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
# Nobody signs up here: who has an account was given it.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "cloudtrain"
# A clock may be off by half a minute; each code is taken once all the same.
MFA_TOTP_TOLERANCE = 1
MFA_RATE_LIMITS = False

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
FORMAT_MODULE_PATH = "cloudtrain_site.conf.formats"

STATIC_URL = "static/"
# The internal location under which nginx sends the files of trainings; empty: we send them.
ACCELERATED_LOCATION = env.str("CLOUDTRAIN_ACCELERATED_LOCATION", default="")
# Where the operator's backups are put, for `manage.py doctor` to see how old the newest is.
BACKUP_DIR = env.str("CLOUDTRAIN_BACKUP_DIR", default="")
# Only for a proxy that serves static files, collected under the names that the pages use.
STATIC_ROOT = env.str("STATIC_ROOT", default=None)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "cloudtrain_site.serving.static_files.CollectedFiles",
        "OPTIONS": {"folder": DATA_DIR / "static"},
    },
}
if DEBUG:
    STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
elif STATIC_ROOT and ROLE != "web":
    STORAGES["staticfiles"] = {"BACKEND": "cloudtrain_site.serving.static_files.HashedFiles"}
# Files under names with a hash are cached for ever; the others come from the packages, and are never cached.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 0
WHITENOISE_AUTOREFRESH = DEBUG

# From the sign-in, and from the last use, whichever is over first.
SESSION_COOKIE_AGE = env.whole_number("CLOUDTRAIN_SESSION_DAYS", default=14) * 86_400
SESSION_IDLE_SECONDS = env.whole_number("CLOUDTRAIN_SESSION_IDLE_HOURS", default=24) * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_COOKIES = env.switch("SECURE_COOKIES", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
BROWSER_COOKIE_NAME = "browser"
if SECURE_COOKIES:
    # A browser takes these from this very host over HTTPS alone: no neighbouring host can set them.
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
    BROWSER_COOKIE_NAME = "__Host-browser"
SECURE_SSL_REDIRECT = env.switch("SECURE_SSL_REDIRECT", default=False)
# Load balancers probe over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^api/cloud/health/(live|ready)$"]
SECURE_HSTS_SECONDS = env.whole_number("SECURE_HSTS_SECONDS", default=0, or_none=True)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.switch("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.switch("SECURE_HSTS_PRELOAD", default=False)
# Whether HSTS holds for a whole domain is not this site's to say: `check --deploy` need not ask for both.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
CSRF_FAILURE_VIEW = "cloudtrain_site.errors.csrf_failure"
X_FRAME_OPTIONS = "DENY"
# A browser loads and runs our own files on our pages, and nothing written into a page.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # Icons in stylesheets are data addresses.
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# A config may have 1 MB (jobs/configs/submission.py); the dataloader rides in the same body.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000

EMAIL_CONFIG = env.mail("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="cloudtrain@localhost")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "cloudtrain_site.accounts.key_authentication.KeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["cloudtrain_site.api.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "cloudtrain_site.api_docs.schema.OperationSchema",
    "EXCEPTION_HANDLER": "cloudtrain_site.errors.exception_handler",
    "COERCE_DECIMAL_TO_STRING": False,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "cloudtrain",
    "DESCRIPTION": "Submit, approve, queue, run and watch training jobs.",
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "SORT_OPERATIONS": "cloudtrain_site.api_docs.schema.order_of",
    "TAGS": [{"name": "SimpleTuner", "description": "For SimpleTuner's own command line: docs/simpletuner.md."}],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "ENUM_NAME_OVERRIDES": {
        "JobStatusEnum": "jobs.statuses.JobStatus",
        "EntryStatusEnum": "queueing.statuses.EntryStatus",
        "RequestStatusEnum": "approvals.statuses.RequestStatus",
        "RoleEnum": "jobs.roles.Role",
        "OrganizationChannelEnum": "cloudtrain_site.notices.models.ORGANIZATION_KINDS",
        "HealthEnum": "cloudtrain_site.monitoring.health.ORDER",
    },
}

# Its migrations would create its own table too, which ours replaces.
MIGRATION_MODULES = {"knox": None}
KNOX_TOKEN_MODEL = "cloudtrain_site.ApiKey"  # noqa: S105 - a model, not a secret
REST_KNOX = {"TOKEN_TTL": timedelta(days=365), "AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "ct_"}

REDIS_URL = env.redis("REDIS_URL")

Q_CLUSTER: dict[str, object] = {
    "name": "cloudtrain",
    "label": "Background tasks",
    "workers": env.whole_number("CLOUDTRAIN_WORKERS", default=2),
    "queue_limit": 2,
    "timeout": 60,
    # retry > timeout x (2 + queue_limit / workers): a prefetched task must not be handed out a second time.
    "retry": 300,
    "max_attempts": 3,
    "ack_failures": True,
    # The library prunes inside its one result-saving process, which is its bottleneck; a loop of ours prunes instead.
    "save_limit": 0,
    "catch_up": False,
    # By itself its scheduler runs every 30 s and stops at the first bad row: background_tasks/beat.py calls it.
    "scheduler": False,
    "poll": 0.2,
    # How often its guard looks after the workers; cluster.py does it each second as well.
    "guard_cycle": 1,
    "orm": "default",
}
if REDIS_URL:
    del Q_CLUSTER["orm"]
    Q_CLUSTER["redis"] = REDIS_URL

EVENTSTREAM_CHANNELMANAGER_CLASS = "jobs.api.event_channels.ChannelManager"
EVENTSTREAM_STORAGE_CLASS = "cloudtrain_site.events.readers.EventStorage"

LOGGING_CONFIG = "cloudtrain_site.structured_logging.configure.configure_django"
# Django calls the function only when there is something to pass; it reads the environment and not this.
LOGGING = {"version": 1}
# One line a request at INFO: its start, and clients that leave a stream, matter only for debugging.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_REQUEST_CANCELLED_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO
# Django writes a line at ERROR, unless the answer is in good order or its failure was logged already.
DJANGO_STRUCTLOG_STATUS_5XX_LOG_LEVEL = logging.INFO
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
# CorrelationMiddleware has checked the header, or written one, before the library reads it.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_CORRELATION_ID = True
# Empty: it would query the user of every request; cloudtrain_site/correlation.py adds a user that is loaded anyway.
DJANGO_STRUCTLOG_USER_ID_FIELD = ""
