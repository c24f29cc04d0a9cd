"""The steward's desk in Airflow's navigation. Every process of Airflow loads this file; only the api-server makes the pages."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin


class AnonymizeDesk(AirflowPlugin):
    """The pages, mounted at `/desk`, and the entry that leads to them."""

    name = "anonymize-desk"
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Releases",
            "href": "desk/",
            "url_route": "releases",
            "destination": "nav",
            "nav_top_level": True,
            "icon": "desk/static/desk.svg",
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[Any]:
        from anonymize_desk.app import app, prefix

        return [{"app": app, "url_prefix": prefix, "name": self.name}]
