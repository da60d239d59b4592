// Trust in files: what is checked before a file is read, while it is read, and how files are written
// so that their bytes do not depend on chance. Shared by the compiled programs and, through ROOT's
// interpreter, by the JIT engine, so that both behave alike.
#ifndef NANOLAKE_TRUST_H
#define NANOLAKE_TRUST_H

#include "remote.h"

#include <ROOT/RDataFrame.hxx>
#include <TFile.h>
#include <TH1D.h>
#include <TKey.h>
#include <TLeaf.h>
#include <TTree.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace nanolake {
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

// First entries of the clusters of a TTree, and its end; nothing for an RNTuple.
inline std::vector<Long64_t> Clusters(TFile &file, const std::string &object)
{
   auto *tree = file.Get<TTree>(object.c_str());
   std::vector<Long64_t> starts;
   if (!tree)
      return starts;
   auto cluster = tree->GetClusterIterator(0);
   for (Long64_t start = cluster.Next(); start < tree->GetEntries(); start = cluster.Next())
      starts.push_back(start);
   starts.push_back(tree->GetEntries());
   return starts;
}

// The identity that ROOT gave a file; nothing if it was written without one ("reproducible").
inline std::string Identity(const TFile &file)
{
   const std::string uuid = file.GetUUID().AsString();
   return uuid.find_first_not_of("0-") == std::string::npos ? "" : uuid;
}

// Adler-32 of a whole file, read in order in large blocks, as 8 hexadecimal digits.
inline std::string Adler32(TFile &file)
{
   constexpr Long64_t kBlock = 8 << 20;
   std::vector<char> block(kBlock);
   unsigned long a = 1, b = 0;
   for (Long64_t position = 0, size = file.GetSize(); position < size; position += kBlock) {
      const Int_t length = std::min(kBlock, size - position);
      if (file.ReadBuffer(block.data(), position, length))
         break; // the trap has heard of it
      for (Int_t i = 0; i < length;) {
         for (const Int_t stop = std::min(i + 5552, length); i < stop; ++i)
            b += a += static_cast<unsigned char>(block[i]);
         a %= 65521;
         b %= 65521;
      }
   }
   char digits[9];
   std::snprintf(digits, sizeof digits, "%08lx", b << 16 | a);
   return digits;
}

// What the catalogue says of a file; -1 or nothing where it says nothing.
struct Expected {
   Long64_t events = -1, bytes = -1;
   std::string uuid, adler32; // a checksum is compared if it is given, which reads the whole file
};

// Compare an open file with what the catalogue says of it: identity, content, number of events.
inline void CheckFile(TFile &file, const std::string &path, const std::string &object, const Columns &columns,
                      const Expected &expected)
{
   const auto uuid = Identity(file);
   if (!expected.uuid.empty() && uuid != expected.uuid)
      throw FileProblem("stale", path, "its UUID is " + uuid + ", the catalogue says " + expected.uuid);
   if (!expected.adler32.empty()) {
      ErrorTrap::Guard("reading", path);
      if (const auto found = Adler32(file); found != expected.adler32)
         throw FileProblem("corrupt", path, "its adler32 is " + found + ", the catalogue says " + expected.adler32);
   }
   const auto events = CheckContent(file, path, object, columns);
   if (expected.events >= 0 && events != expected.events)
      throw FileProblem("events", path, "it holds " + std::to_string(events) + " events, the catalogue says " +
                                           std::to_string(expected.events));
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
   std::unique_ptr<TFile> file{new TFile(Reproducible(path).c_str(), "RECREATE")};
   if (file->IsZombie())
      throw FileProblem("unwritable", path, "it cannot be written");
   return file;
}

// Put trees that lie in files of their own into one file, baskets as they are.
// trees: (file, name of the tree).
inline void Gather(const std::vector<std::pair<std::string, std::string>> &trees, const std::string &path)
{
   auto out = Create(path);
   for (const auto &[from, object] : trees) {
      TFile in(from.c_str());
      auto *tree = in.Get<TTree>(object.c_str());
      if (!tree)
         throw FileProblem("unreadable", from, "there is no tree " + object);
      out->cd();
      out->SetCompressionSettings(in.GetCompressionSettings());
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
