"""Makes one synthetic file: SAMPLE PATH EVENTS [PAIR TRIGGERED]."""

import sys

from nanolake import generate
from nanolake.generate import htautau

sample, path, events, *rates = sys.argv[1:]
if rates:
    # The generator knows enriched files only; these are its own two fractions.
    htautau.PAIR, htautau.TRIGGERED = map(float, rates)
generate.generate_file(sample, path, events=int(events), seed=7)
