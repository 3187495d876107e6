"""A Django app for the tests of hub.orm.django."""
