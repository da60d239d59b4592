// What the engine without a compiler needs beside trust.h.
#ifndef NANOLAKE_JIT_H
#define NANOLAKE_JIT_H

#include "remote.h"
#include "trust.h"

#include <string>
#include <vector>

namespace nanolake {
// What RDataFrame reads of each file, as it goes from one to the next.
class Watch {
public:
   struct Mark {
      std::string file; // as the task says it
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
         const auto place = info.AsString(); // path/tree
         Note(Address(place.substr(0, place.rfind('/'))));
         ErrorTrap::Guard("reading", fMarks.back().file);
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
