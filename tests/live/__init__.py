"""Tests against the real packages and servers, each in an environment of its own; CI installs what they need."""
