#!/usr/bin/python3 -I
"""As much of wget as a health check asks for: the last argument is fetched."""

import sys
import urllib.request

urllib.request.urlopen(sys.argv[-1], timeout=5).read()
