// Trust in files: what is checked before a file is read, while it is read, and how files are written
// so that their bytes do not depend on chance. Shared by the compiled programs and, through ROOT's
// interpreter, by the JIT engine, so that both behave alike.
#ifndef NANOLAKE_TRUST_H
#define NANOLAKE_TRUST_H

#include <ROOT/RDataFrame.hxx>
#include <TError.h>
#include <TFile.h>
#include <TH1D.h>
#include <TKey.h>
#include <TLeaf.h>
#include <TTree.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace nanolake {
// A problem with one file; `kind` is a word that the Python side turns into a remedy.
struct FileProblem : std::runtime_error {
   std::string kind, file;
   FileProblem(std::string k, std::string f, const std::string &what)
      : std::runtime_error(what), kind(std::move(k)), file(std::move(f))
   {
   }
};

// A JSON string, for a result that must be written when nothing else works any more.
inline std::string Quoted(const std::string &text)
{
   std::string out = "\"";
   for (const char c : text)
      if (c == '"' || c == '\\')
         out += std::string("\\") + c;
      else
         out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
   return out + "\"";
}

// ROOT reports a corrupt basket, a failed read or a full disk as a message and goes on with what is
// in memory. Here the first error message is kept, and Check() turns it into an exception. In an
// event loop that is too late, as garbage may crash the loop: after Guard() the first error
// message ends the process, its problem written as the result of the task.
class ErrorTrap {
   struct State {
      std::string first, doing, file;
   };
   static State &Get()
   {
      static State state;
      return state;
   }
   static std::string What() { return "error while " + Get().doing + ": " + Get().first; }
   static void Handle(int level, Bool_t abort, const char *where, const char *what)
   {
      DefaultErrorHandler(level, abort, where, what);
      if (level < kError || !Get().first.empty())
         return;
      Get().first = std::string(where ? where : "") + ": " + (what ? what : "");
      if (Get().doing.empty())
         return;
      std::printf("{\"problem\": {\"kind\": \"corrupt\", \"file\": %s, \"what\": %s}}\n",
                  Quoted(Get().file).c_str(), Quoted(What()).c_str());
      std::fflush(stdout);
      std::_Exit(1);
   }
   ErrorHandlerFunc_t fPrevious;

public:
   ErrorTrap() : fPrevious(SetErrorHandler(Handle)) { Get() = {}; }
   ~ErrorTrap() { SetErrorHandler(fPrevious); }
   ErrorTrap(const ErrorTrap &) = delete;
   void Guard(const std::string &doing, const std::string &file) const
   {
      Check(doing, file);
      Get().doing = doing;
      Get().file = file;
   }
   void Check(const std::string &doing, const std::string &file) const
   {
      if (Get().first.empty())
         return;
      Get().doing = doing;
      throw FileProblem("corrupt", file, What());
   }
};

// The type of a column in one spelling for TTree and RNTuple: "RVec<Float_t>", "UInt_t", ...
inline std::string PlainType(std::string type)
{
   const std::pair<const char *, const char *> spellings[] = {
      {"ROOT::VecOps::", ""},        {"ROOT::", ""},          {"std::vector", "RVec"},
      {"std::uint32_t", "UInt_t"},   {"std::int32_t", "Int_t"}, {"std::uint64_t", "ULong64_t"},
      {"unsigned int", "UInt_t"}};
   for (const auto &[from, to] : spellings)
      for (auto at = type.find(from); at != std::string::npos; at = type.find(from))
         type.replace(at, std::string(from).size(), to);
   const std::pair<const char *, const char *> words[] = {
      {"float", "Float_t"}, {"int", "Int_t"}, {"bool", "Bool_t"}, {"double", "Double_t"}};
   for (const auto &[from, to] : words)
      if (type == from)
         return to;
      else if (type == std::string("RVec<") + from + ">")
         return std::string("RVec<") + to + ">";
   return type;
}

using Columns = std::vector<std::pair<std::string, std::string>>; // name, type

inline void CheckColumn(const std::string &path, const std::string &name, const std::string &wanted,
                        const std::string &found)
{
   if (found.empty())
      throw FileProblem("schema", path, "there is no column " + name);
   if (PlainType(found) != wanted)
      throw FileProblem("schema", path, "column " + name + " is " + PlainType(found) + ", not " + wanted);
}

inline std::string LeafType(TTree &tree, const std::string &name)
{
   auto *leaf = tree.GetLeaf(name.c_str());
   if (!leaf)
      return "";
   const std::string type = leaf->GetTypeName();
   return leaf->GetLeafCount() ? "RVec<" + type + ">" : type;
}

// TFile::Open asks the interpreter which plug-in opens a path, which costs 0.05 CPU s of the first
// file of a process: only files on the network need one.
inline std::unique_ptr<TFile> OpenFile(const std::string &path, const char *mode = "READ")
{
   const bool local = path.find("://") == std::string::npos;
   return std::unique_ptr<TFile>{local ? new TFile(path.c_str(), mode) : TFile::Open(path.c_str(), mode)};
}

// Open one input. It must be whole.
inline std::unique_ptr<TFile> OpenInput(const std::string &path)
{
   auto file = OpenFile(path);
   if (!file || file->IsZombie())
      throw FileProblem("unreadable", path, "it cannot be opened as a ROOT file");
   if (file->TestBit(TFile::kRecovered))
      throw FileProblem("truncated", path, "it is cut short, or was never closed");
   return file;
}

// The number of events of an open input, found without reading any. The columns of a TTree or of
// an RNTuple must be there with the given types.
inline Long64_t CheckContent(TFile &file, const std::string &path, const std::string &object,
                             const Columns &columns)
{
   if (auto *tree = file.Get<TTree>(object.c_str())) {
      for (const auto &[name, type] : columns)
         CheckColumn(path, name, type, LeafType(*tree, name));
      return tree->GetEntries();
   }
   auto *key = file.GetKey(object.c_str());
   if (!key || std::string(key->GetClassName()).find("RNTuple") == std::string::npos)
      throw FileProblem("schema", path, "there is no tree " + object);
   ROOT::RDataFrame df(object, path);
   for (const auto &[name, type] : columns)
      CheckColumn(path, name, type, df.HasColumn(name) ? df.GetColumnType(name) : "");
   return df.Count().GetValue();
}

inline Long64_t CheckInput(const std::string &path, const std::string &object, const Columns &columns)
{
   return CheckContent(*OpenInput(path), path, object, columns);
}

// First entries of the clusters of a TTree, and its end; nothing for an RNTuple.
inline std::vector<Long64_t> Clusters(const std::string &path, const std::string &object)
{
   const auto file = OpenFile(path);
   auto *tree = file ? file->Get<TTree>(object.c_str()) : nullptr;
   std::vector<Long64_t> starts;
   if (!tree)
      return starts;
   auto cluster = tree->GetClusterIterator(0);
   for (Long64_t start = cluster.Next(); start < tree->GetEntries(); start = cluster.Next())
      starts.push_back(start);
   starts.push_back(tree->GetEntries());
   return starts;
}

// CheckInput, and the number of events must be that of the catalogue. The file stays open.
inline std::unique_ptr<TFile> CheckEvents(const std::string &path, const std::string &object,
                                          const Columns &columns, Long64_t expected)
{
   auto file = OpenInput(path);
   if (const auto events = CheckContent(*file, path, object, columns); events != expected)
      throw FileProblem("events", path, "it holds " + std::to_string(events) + " events, the catalogue says " +
                                           std::to_string(expected));
   return file;
}

// Options of every tree we write. Basket size and flushing are fixed, and in entries: they would
// be taken over from the input, and the bytes of the output with them.
inline ROOT::RDF::RSnapshotOptions Output(int level)
{
   ROOT::RDF::RSnapshotOptions options;
   options.fLazy = true;
   options.fCompressionAlgorithm = ROOT::RCompressionSetting::EAlgorithm::kZSTD;
   options.fCompressionLevel = level;
   options.fBasketSize = 32000;
   options.fAutoFlush = 100000;
   return options;
}

// "?reproducible=fixed": no time, no random identifier, no path inside the file.
inline std::string Reproducible(const std::string &path)
{
   return path + "?reproducible=fixed";
}

inline std::unique_ptr<TFile> Create(const std::string &path)
{
   auto file = OpenFile(Reproducible(path), "RECREATE");
   if (!file || file->IsZombie())
      throw FileProblem("unwritable", path, "it cannot be written");
   return file;
}

// Put trees that lie in files of their own into one file, baskets as they are.
// trees: (file, name of the tree).
inline void Gather(const std::vector<std::pair<std::string, std::string>> &trees, const std::string &path)
{
   auto out = Create(path);
   for (const auto &[from, object] : trees) {
      const auto in = OpenFile(from);
      auto *tree = in ? in->Get<TTree>(object.c_str()) : nullptr;
      if (!tree)
         throw FileProblem("unreadable", from, "there is no tree " + object);
      out->cd();
      out->SetCompressionSettings(in->GetCompressionSettings());
      std::unique_ptr<TTree> copy{tree->CloneTree(-1, "fast")};
      copy->Write();
   }
   out->Close();
}

// Write a histogram that was filled with unit weights, scaled by the sample's constant weight: its
// contents do not depend on the order of the events. Statistics would: they are reset.
inline void WriteScaled(const TH1D &filled, const std::string &name, double weight, TFile &out)
{
   std::unique_ptr<TH1D> scaled{static_cast<TH1D *>(filled.Clone(name.c_str()))};
   scaled->SetDirectory(nullptr);
   scaled->Sumw2();
   scaled->Scale(weight);
   scaled->ResetStats();
   out.WriteTObject(scaled.get());
}
} // namespace nanolake
#endif
