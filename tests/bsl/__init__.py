"""Runs the modules of deploy/1c: the language and the platform's objects as far as they use them, HTTP and ODBC for real.

language.py compiles a module, values.py has the values, platform.py the functions and types of the platform, infobase.py
the objects of a base (queries.py: its queries), client.py a workplace, stand.py the service. What is not here is an error,
never a silent pass: an unknown name, method or argument stops the module when it is loaded or run, as 1C would.
"""
