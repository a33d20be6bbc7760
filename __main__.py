"""The commands: `python <this directory> COMMAND`, as the script pbx-connector calls it."""

from flask.cli import ScriptInfo

import cli
from app import create_app
from config import PROGRAM

if __name__ == "__main__":
    cli.program()(prog_name=PROGRAM, obj=ScriptInfo(create_app=create_app, set_debug_flag=False))
