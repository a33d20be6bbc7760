"""The torture run: traffic of all feeds while everything is broken at random, then an account of every notification."""
