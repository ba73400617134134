"""Django's admin under our name, open to the people who decide."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest

from jobs.admin_base import manages


class CloudtrainAdminSite(AdminSite):
    """Lets in staff, and the leads and admins of any organization, who then see their organizations' alone."""

    site_header = "cloudtrain"
    site_title = "cloudtrain"
    index_title = "Administration"
    site_url = "/"
    # The admin's own form turns everybody away who isn't staff, whatever `has_permission` says.
    login_form = AuthenticationForm

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the request's user may come in at all."""
        user = request.user
        return user.is_active and (user.is_staff or manages(request))
