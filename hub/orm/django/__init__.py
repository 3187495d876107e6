"""ORM-change notifications as a Django app: put "hub.orm.django" into INSTALLED_APPS, and migrate.

    class Comment(models.Model):
        __hints__ = [tells("comments-{article_id}", data=lambda comment: comment.pk)]

models        the outbox; the tables are those of `hub.orm.outbox`
settings      FANOUT_REALM, FANOUT_KEY and what else may be set
changes       signals, and `declare`
bulk          helpers for statements that Django sends no signal for
cascades      what a deletion does to other rows
images        rows as they were before a write and are after it
checks        what `manage.py check` says of declared models
telling       the outbox behind Django's connections, and the thread that tells
testing       `recorded_hints`, for a site's own tests
templatetags/ {% fanout_script %} and {% position "comments-17" %}
management/   manage.py fanfare_publish, manage.py fanfare_outbox

    from hub.orm.declarations import tells
    from hub.orm.django.changes import declare, tell, touch, update, bulk_create, bulk_update
"""
