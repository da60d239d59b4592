// What the graph of an analysis gives to the program around it.
#ifndef NANOLAKE_GRAPH_H
#define NANOLAKE_GRAPH_H

#include "event_loop.h"

#include <TH1D.h>

namespace nanolake {
// A histogram and the region (by number) that it was filled in.
struct Filled {
   std::string name;
   std::size_t region;
   ROOT::RDF::RResultPtr<TH1D> histogram;
};

// The histograms of one part of a sample.
struct Part {
   std::vector<Filled> histograms;
   std::vector<ROOT::RDF::RNode> regions;
};

using PartFunction = Part (*)(ROOT::RDF::RNode root);

// Defined by the graph: "data" or "mc" -> loop, "all" -> histograms.
const std::map<std::string, MakeLoop> &Loops();
const std::map<std::string, PartFunction> &Parts();
// Name of the analysis and of its selection.
extern const char *const kAnalysis;
extern const char *const kSelection;
} // namespace nanolake
#endif
