"""The outbox. `fanfare watch` and SQLAlchemy sites make the same tables."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("name", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("owner", models.CharField(max_length=64)),
                ("until", models.FloatField()),
            ],
            options={"db_table": "fanfare_lease"},
        ),
        migrations.CreateModel(
            name="Outbox",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("channel", models.CharField(max_length=255)),
                ("data", models.TextField()),
                ("hint", models.BooleanField(default=True)),
                ("subject", models.CharField(max_length=255, null=True)),
                ("created", models.FloatField()),
                ("due", models.FloatField(null=True)),
                ("tries", models.IntegerField(default=0)),
                ("last_error", models.TextField(null=True)),
            ],
            options={
                "verbose_name": "change to be told",
                "verbose_name_plural": "outbox",
                "db_table": "fanfare_outbox",
                "indexes": [
                    models.Index(fields=["due"], name="fanfare_outbox_due"),
                    models.Index(fields=["subject"], name="fanfare_outbox_subject"),
                ],
            },
        ),
    )
