"""One unit as the workflow runs it: PROGRAM PLAN REPLICAS OUTPUT SAMPLE UNIT."""

import sys

from nanolake import skim

program, plan, replicas, output, sample, unit = sys.argv[1:]
skim.run(program, plan, replicas, output, f"{output}.json", sample=sample, unit=unit)
