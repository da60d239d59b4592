// What the engine without a compiler needs beside trust.h.
#ifndef NANOLAKE_JIT_H
#define NANOLAKE_JIT_H

#include "remote.h"
#include "trust.h"

#include <TSystem.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace nanolake {
// As Apart, for a chain: RDataFrame knows files by names, of which ROOT drops what is behind a question
// mark. A connection is also another one for another password, which nobody is asked for.
inline std::string ApartByName(const std::string &path)
{
   static std::atomic<int> number = 0;
   const auto start = path.find("://") + 3;
   if (!IsRemote(path) || path.find('@', start) < path.find('/', start))
      return path;
   const std::unique_ptr<UserGroup_t> user{gSystem->GetUserInfo()}; // who logs in anyhow
   const std::string name = user ? user->fUser.Data() : "_anon_";
   return path.substr(0, start) + name + ":" + std::to_string(++number) + "@" + path.substr(start);
}

// The path that was set apart by name, as the task says it.
inline std::string Address(const std::string &apart)
{
   const auto start = apart.find("://") + 3, end = apart.find('@', start);
   const bool named = IsRemote(apart) && end < apart.find('/', start) && apart.find(':', start) < end;
   return named ? apart.substr(0, start) + apart.substr(end + 1) : apart;
}

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
