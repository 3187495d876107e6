"""The article's page, its comments, and two ways to change them."""

from django.contrib.admin.views.decorators import staff_member_required
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from hub.orm.django.changes import update

from .models import Article


def article(request, pk):
    """The page. Its template asks for the channel's position before it reads the comments."""
    return render(request, "article.html", {"article": get_object_or_404(Article, pk=pk)})


def comments(request, pk):
    """What the page fetches when it hears that something changed: what everybody may see."""
    found = get_object_or_404(Article, pk=pk).comments.filter(approved=True)
    return JsonResponse({"comments": [{"id": one.pk, "name": one.name, "text": one.text} for one in found]})


@require_POST
def post_comment(request, pk):
    """Save a comment. There is nothing else to do."""
    found = get_object_or_404(Article, pk=pk)
    found.comments.create(name=request.POST["name"][:40], text=request.POST["text"][:2000])
    return redirect(f"/{pk}/")


@staff_member_required
@require_POST
def approve_all(request, pk):
    """Django sends no signal for `QuerySet.update()`; the helper tells in its place."""
    count = update(get_object_or_404(Article, pk=pk).comments.filter(approved=False), approved=True)
    return JsonResponse({"approved": count})
