"""Settings of the tests' Django site; the fixtures put in the database."""

SECRET_KEY = "for tests only"
INSTALLED_APPS = ("django.contrib.contenttypes", "hub.orm.django", "newsroom")
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
# Django writes it into the environment of the whole test run.
TIME_ZONE = "UTC"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
FANOUT_REALM = "tests"
FANOUT_KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
