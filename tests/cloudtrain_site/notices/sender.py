"""A sender in a process of its own, which a test kills: `python -m tests.cloudtrain_site.notices.sender NAME PORT`.

It works on the database called NAME of the environment's settings, and mails to PORT of this machine.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import timedelta

import django
from django.conf import settings
from django.db import connections

#: Short, so that what a killed sender held is soon another's.
LEASE = timedelta(seconds=3)
#: Between two looks for what is due.
PAUSE_SECONDS = 0.05


def main(database: str, mail_port: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")
    settings.DATABASES["default"]["NAME"] = database
    django.setup()
    settings.NOTICE_NETWORKS = ["127.0.0.0/8"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mail_port
    from cloudtrain_site.notices import claims
    from cloudtrain_site.notices.sending import send_due

    claims.LEASE, claims.DIGEST_WINDOW = LEASE, timedelta(seconds=1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # Nobody reads the log: a full pipe would stop the sender.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    is_over = threading.Event()  # never set: the test kills the process
    while not is_over.wait(PAUSE_SECONDS):
        send_due()
        connections.close_all()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
