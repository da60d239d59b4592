// What the graph of an analysis gives to the program around it.
#ifndef NANOLAKE_GRAPH_H
#define NANOLAKE_GRAPH_H

#include "trust.h"

#include <Math/Vector4D.h>
#include <ROOT/RVec.hxx>
#include <TH1D.h>

using ROOT::RVec;

namespace nanolake {
using CutFlowResult = ROOT::RDF::RResultPtr<ROOT::RDF::RCutFlowReport>;

// One channel of a unit: where its events are written, and its cut flow. `written` keeps the
// snapshot alive until the event loop has run.
struct Channel {
   std::string name, path;
   ROOT::RDF::RResultPtr<ROOT::RDF::RInterface<ROOT::Detail::RDF::RLoopManager>> written;
   CutFlowResult report;
};

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

using SkimFunction = Channel (*)(ROOT::RDF::RNode root, const std::string &path);
using PartFunction = Part (*)(ROOT::RDF::RNode root);

// Defined by the graph: "mc/4mu" -> function, "all" -> function.
const std::map<std::string, SkimFunction> &Skims();
const std::map<std::string, PartFunction> &Parts();
} // namespace nanolake
#endif
