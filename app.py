"""The application: settings in, every blueprint found and registered."""

import sqlite3

from flask import Flask
from werkzeug.exceptions import HTTPException

import config
import handlers
import schemas
import setup
from calllog import database
from calllog.asking import Desk
from config import Settings, WrongSettings
from forwarder import Forwarder
from handlers.answers import Connector, on_http_error, on_inbox_error
from handlers.astray import Near, on_not_found
from inbox import Inbox, now
from server.running import Running


def create_app(settings: Settings | None = None, running: Running | None = None) -> Flask:
    """The WSGI application. Raises config.WrongSettings; the state of inbox and call log never stops the start."""
    if settings is None:
        settings = config.load(schemas.zones(), database.parse_url)
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would be lost: no provider follows one
    inbox = Inbox(settings.inbox_dir)
    running = running or Running(config.VERSION, str(config.HERE), now())
    desk = Desk(settings.database_url)
    app.extensions["connector"] = Connector(settings, inbox, Forwarder(settings, inbox), desk, running)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(sqlite3.Error, on_inbox_error)
    for blueprint in handlers.blueprints():
        app.register_blueprint(blueprint)
    for feed in sorted(settings.feeds.keys() - app.blueprints.keys()):
        raise WrongSettings(f"handlers/{feed}.py is missing, or its bp is not named {feed}: the feed has no route")
    app.extensions["near"] = Near(app)
    app.register_error_handler(404, on_not_found)
    setup.feeds()  # names what is wrong with a set-up page now, and not when somebody asks for it
    return app
