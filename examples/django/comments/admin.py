"""What may be changed in the admin; it needs to know nothing of the hub."""

from django.contrib import admin

from .models import Article, Comment

admin.site.register(Article)
admin.site.register(Comment)
