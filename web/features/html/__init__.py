"""HTML that is proven valid, by the Nu Html Checker on this machine: `fanfare html`, and a plugin for pytest.

Three outcomes, never two: valid, invalid, could not be checked. docs/html.md.
"""
