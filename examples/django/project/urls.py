"""The pages: an article, its comments as JSON, the admin."""

from comments import views
from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("<int:pk>/", views.article),
    path("<int:pk>/comments.json", views.comments),
    path("<int:pk>/comment", views.post_comment),
    path("<int:pk>/approve", views.approve_all),
]
