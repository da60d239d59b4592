// What the engine without a compiler needs beside trust.h.
#ifndef NANOLAKE_JIT_H
#define NANOLAKE_JIT_H

#include "trust.h"

#include <string>
#include <vector>

namespace nanolake {
// What RDataFrame reads of each file, as it goes from one to the next.
class Watch {
public:
   struct Mark {
      std::string file; // path/tree
      Long64_t bytes, requests;
      double seconds;
   };

private:
   Clock::time_point fStart = Clock::now();
   std::vector<Mark> fMarks;

   void Note(const std::string &file)
   {
      fMarks.push_back({file, TFile::GetFileBytesRead(), TFile::GetFileReadCalls(), Since(fStart)});
   }

public:
   // A node behind which errors are those of the file that is read, not of the first.
   ROOT::RDF::RNode On(ROOT::RDF::RNode node)
   {
      return node.DefinePerSample("file_of_unit_", [this](unsigned int, const ROOT::RDF::RSampleInfo &info) {
         Note(info.AsString());
         ErrorTrap::Guard("reading", info.AsString().substr(0, info.AsString().rfind('/')));
         return 0;
      });
   }
   // Where each file began, and the end.
   std::vector<Mark> Marks()
   {
      Note("");
      return fMarks;
   }
};
} // namespace nanolake
#endif
