// The program around the compiled graph of an analysis: PROGRAM inspect|skim|merge|histogram, a JSON task on
// standard input, a JSON result on standard output. The tasks are described in engine.py.

#include "graph.h"
#include "read_ahead.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <iostream>
#include <iterator>

using json = nlohmann::ordered_json;
using namespace nanolake;

bool AcceleratorIsOn(); // accelerator.cpp

namespace {
Columns Wanted(const json &columns)
{
   Columns wanted;
   for (const auto &[name, type] : columns.items())
      wanted.emplace_back(name, type);
   return wanted;
}

// Events, cluster boundaries, size and identity of files: {object, columns, paths}.
json Inspect(const json &task)
{
   const ErrorTrap trap;
   const std::string object = task.at("object");
   json files = json::array();
   for (const std::string path : task.at("paths")) {
      const auto file = Opening(path).Get();
      const auto events = CheckContent(*file, path, object, Wanted(task.at("columns")));
      files.push_back({{"path", path}, {"events", events}, {"clusters", Clusters(*file, object)},
                       {"bytes", file->GetSize()}, {"uuid", Identity(*file)}});
      trap.Check("opening", path);
   }
   return {{"files", files}};
}

Expected Declared(const json &file)
{
   return {file.at("events"), file.value("bytes", -1LL), file.value("uuid", ""), file.value("adler32", "")};
}

// Check all files of a task: samples of {name, object, files: [{path, events}]}.
ROOT::RDF::Experimental::RDatasetSpec Open(const json &samples, const json &columns)
{
   const auto wanted = Wanted(columns);
   ROOT::RDF::Experimental::RDatasetSpec spec;
   for (const auto &sample : samples) {
      const std::string object = sample.at("object");
      std::vector<std::string> paths;
      for (const auto &file : sample.at("files")) {
         paths.push_back(file.at("path"));
         CheckFile(*Opening(paths.back()).Get(), paths.back(), object, wanted, Declared(file));
      }
      spec.AddSample({sample.at("name").get<std::string>(), object, paths});
   }
   return spec;
}

json Steps(ROOT::RDF::RCutFlowReport &report)
{
   json steps = json::array();
   for (const auto &cut : report)
      if (!cut.GetName().empty())
         steps.push_back({cut.GetName(), cut.GetPass()});
   return steps;
}

TTree &Tree(TFile &file, const std::string &object)
{
   auto *tree = file.Get<TTree>(object.c_str());
   if (!tree) // the analysis and its selection tell who can read it
      throw FileProblem("by-jit", file.GetName(), std::string(kAnalysis) + " " + kSelection);
   tree->SetCacheSize(0); // the loop reads whole baskets: TTreeCache would be a copy more, 10 % of its time
   return *tree;
}

// Run the loop over the entries [first, last) of a file; notes what was read of it.
void Run(Loop &loop, TFile &file, const json &task, Long64_t first, Long64_t last, json &figures)
{
   const auto start = Clock::now();
   TTree &tree = Tree(file, task.at("samples").at(0).at("object"));
   std::vector<std::string> columns;
   for (const auto &[name, type] : task.at("columns").items())
      columns.push_back(name);
   const Long64_t bytes = file.GetBytesRead(), requests = file.GetReadCalls();
   if (IsRemote(file.GetName())) {
      ReadAhead ahead(file, tree, columns, first, last);
      loop.Run(tree, first, last);
      figures["bytes_read"] = bytes + ahead.Bytes();
      figures["requests"] = requests + ahead.Requests();
   } else {
      loop.Run(tree, first, last);
      figures["bytes_read"] = file.GetBytesRead();
      figures["requests"] = file.GetReadCalls();
   }
   figures["loop_seconds"] = Since(start);
}

// The loop of one unit: range [begin, end) of the chain of its files, all channels in one file.
json Skim(const json &task)
{
   ErrorTrap trap;
   const auto &sample = task.at("samples").at(0);
   const auto &declared = sample.at("files");
   const std::string output = task.at("output");
   const Long64_t begin = task.at("range").at(0), end = task.at("range").at(1);
   std::vector<Opening> openings;
   for (const auto &file : declared)
      openings.emplace_back(file.at("path"));
   trap.Guard("writing", output);
   auto out = Create(output); // while storage answers
   out->SetCompressionSettings(501); // ZSTD, the fastest
   auto loop = Loops().at(task.at("kind"))(task.at("channels"), *out);
   std::vector<std::unique_ptr<TFile>> files; // all are checked before the first is read
   json figures = json::array();
   for (std::size_t i = 0; i < declared.size(); ++i) {
      const auto start = Clock::now();
      const auto expected = Declared(declared[i]);
      files.push_back(openings[i].Get(expected.bytes));
      CheckFile(*files[i], declared[i].at("path"), sample.at("object"), Wanted(task.at("columns")), expected);
      figures.push_back({{"bytes", files[i]->GetSize()}, {"uuid", Identity(*files[i])}, {"bytes_read", 0},
                         {"requests", 0}, {"open_seconds", Since(start)}, {"loop_seconds", 0.}});
   }
   Long64_t start = 0, read = 0, bytes = 0;
   for (std::size_t i = 0; i < files.size(); ++i) {
      const Long64_t events = declared[i].at("events");
      const auto first = std::max(begin - start, 0LL), last = std::min(end - start, events);
      start += events;
      trap.Guard("reading", declared[i].at("path"));
      if (first < last) {
         Run(*loop, *files[i], task, first, last, figures[i]);
         read += last - first;
         bytes += figures[i]["bytes_read"].get<Long64_t>();
      }
      files[i].reset();
   }
   trap.Guard("writing", output);
   json result = {{"read", read}, {"bytes_read", bytes}, {"files", figures}};
   result["accelerator"] = AcceleratorIsOn() ? "libdeflate" : "off";
   for (const auto &[channel, steps] : loop->Close()) {
      json flow = json::array();
      for (const auto &[step, passed] : steps)
         flow.push_back({step, passed});
      result["cutflow"][channel] = flow;
   }
   out->Close();
   return result;
}

// All units of one sample in one tree `Events`, channel by channel, in order, with the constant
// weight of each channel. Rewritten entry by entry: its bytes do not tell how many units there were.
json Merge(const json &task)
{
   ErrorTrap trap;
   const std::string output = task.at("output");
   std::vector<std::string> columns = task.at("kept");
   columns.emplace_back("weight");
   const std::map<std::string, double> weights = task.at("weights");
   ROOT::RDataFrame df(Open(task.at("samples"), json::object()));
   trap.Guard("merging into", output);
   const auto weight = [weights](unsigned int, const ROOT::RDF::RSampleInfo &info) {
      return weights.at(info.GetSampleName());
   };
   ROOT::RDF::RNode node = df.DefinePerSample("weight_as_double", weight);
   if (task.at("weight_type") == "float")
      node = node.Define("weight", [](double w) { return float(w); }, {"weight_as_double"});
   else
      node = node.Define("weight", [](double w) { return w; }, {"weight_as_double"});
   auto count = node.Count();
   auto written = node.Snapshot("Events", Reproducible(output), columns, Output(5));
   return {{"events", *count}};
}

// A region of a reduced ntuple: its cut flow, and the range of its weights.
struct Region {
   ROOT::RDF::RResultPtr<ROOT::RDF::RCutFlowReport> report;
   ROOT::RDF::RResultPtr<double> lowest, highest;
};

Region Watch(ROOT::RDF::RNode node, bool single)
{
   ROOT::RDF::RNode weight =
      single ? node.Define("weight_as_double", [](const float &w) { return double(w); }, {"weight"})
             : node.Define("weight_as_double", [](const double &w) { return w; }, {"weight"});
   return {node.Report(), weight.Min<double>("weight_as_double"), weight.Max<double>("weight_as_double")};
}

void Write(Part &part, std::vector<Region> &regions, const std::string &prefix, TFile &out, const std::string &path)
{
   for (auto &[name, number, histogram] : part.histograms) {
      auto &region = regions[number];
      const bool any = *region.lowest <= *region.highest; // of no event: highest < lowest
      if (any && *region.lowest != *region.highest)
         throw FileProblem("weight", path, "the weight is not constant in " + prefix);
      WriteScaled(*histogram, prefix + "_" + name, any ? *region.lowest : 1.0, out);
   }
}

// The histograms of all samples in one file; samples have parts: [[prefix, part], ...].
json Histogram(const json &task)
{
   ErrorTrap trap;
   TH1::AddDirectory(false);
   const std::string output = task.at("output");
   auto out = Create(output);
   json result = {{"cutflow", json::object()}};
   for (const auto &sample : task.at("samples")) {
      const std::string path = sample.at("files").at(0).at("path"), name = sample.at("name");
      ROOT::RDataFrame df(Open(json::array({sample}), task.at("columns")));
      trap.Guard("filling histograms from", path);
      result["cutflow"][name] = json::object();
      struct Booked {
         std::string prefix;
         Part part;
         std::vector<Region> regions;
      };
      std::vector<Booked> parts;
      for (const auto &part : sample.at("parts")) {
         parts.push_back({part.at(0), Parts().at(part.at(1))(df), {}});
         for (auto &node : parts.back().part.regions)
            parts.back().regions.push_back(Watch(node, task.at("weight_type") == "float"));
      }
      for (auto &[prefix, part, regions] : parts) {
         Write(part, regions, prefix, *out, path);
         for (auto &region : regions)
            for (const auto &step : Steps(*region.report))
               result["cutflow"][name][step.at(0).get<std::string>()] = step.at(1);
      }
   }
   trap.Guard("writing", output);
   out->Close();
   return result;
}
} // namespace

int main(int argc, char **argv)
{
   const std::map<std::string, json (*)(const json &)> actions{
      {"inspect", Inspect}, {"skim", Skim}, {"merge", Merge}, {"histogram", Histogram}};
   const auto action = actions.find(argc == 2 ? argv[1] : "");
   if (action == actions.end()) {
      std::cerr << "usage: " << argv[0] << " inspect|skim|merge|histogram < task.json > result.json\n";
      return 2;
   }
   json result;
   try {
      result = action->second(json::parse(std::string{std::istreambuf_iterator<char>(std::cin), {}}));
   } catch (const FileProblem &e) {
      result = {{"problem", {{"kind", e.kind}, {"file", e.file}, {"what", e.what()}}}};
   } catch (const std::bad_alloc &) {
      result = {{"problem", {{"kind", "memory"}, {"file", ""}, {"what", "there is not enough memory"}}}};
   } catch (const std::exception &e) {
      result = {{"problem", {{"kind", "bug"}, {"file", ""}, {"what", e.what()}}}};
   }
   std::cout << result.dump() << std::endl;
   // All files are closed; to take down the interpreter in order costs 0.02 CPU s more.
   std::_Exit(result.contains("problem") ? 1 : 0);
}
