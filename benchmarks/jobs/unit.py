"""One unit as the workflow runs it: PROGRAM PLAN OUTPUT SAMPLE UNIT."""

import sys

from nanolake import skim

program, plan, output, sample, unit = sys.argv[1:]
skim.run(program, plan, output, f"{output}.json", sample=sample, unit=unit)
