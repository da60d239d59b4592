"""The dimuon spectrum with coffea's NanoEvents: FILE."""

import json
import sys
import warnings

import awkward as ak
import numpy as np
import uproot
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory
from dimuon_uproot import BINS, fill, mass

STEP = 500_000


def main():
    warnings.simplefilter("ignore")
    NanoAODSchema.error_missing_event_ids = False  # these files have none
    path = sys.argv[1]
    two, opposite, histogram = 0, 0, np.zeros(BINS + 2, dtype=int)
    total = uproot.open(path)["Events"].num_entries
    for start in range(0, total, STEP):
        events = NanoEventsFactory.from_root(
            {path: "Events"},
            schemaclass=NanoAODSchema,
            entry_start=start,
            entry_stop=min(start + STEP, total),
        ).events()
        muons = events.Muon
        muons = muons[ak.num(muons) == 2]
        two += len(muons)
        muons = muons[muons.charge[:, 0] != muons.charge[:, 1]]
        opposite += len(muons)
        parts = (np.asarray(muons[name]) for name in ("pt", "eta", "phi", "mass"))
        fill(histogram, mass(*parts))
    print(json.dumps({"cutflow": [two, opposite], "histogram": histogram.tolist()}))


main()
