// Opening files, those on the network with as few round trips as possible.
#ifndef NANOLAKE_REMOTE_H
#define NANOLAKE_REMOTE_H

#include "trap.h"

#include <TEnv.h>
#include <TFile.h>
#include <TFileCacheRead.h>
#include <TPluginManager.h>
#include <TROOT.h>
#include <TSystem.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace nanolake {
using Clock = std::chrono::steady_clock;

inline double Since(Clock::time_point start)
{
   return std::chrono::duration<double>(Clock::now() - start).count();
}

inline bool IsRemote(const std::string &path)
{
   return path.find("://") != std::string::npos;
}

// A file on the network with a connection of its own. What may be read is said by the token that a
// connection has begun with, also when the file is opened anew after a cut: with a connection that
// it shares with others it may be an old one by then. XrdCl keeps what begins with xrdcl. to itself.
inline std::string Apart(const std::string &path)
{
   static std::atomic<int> number = 0;
   return path + (path.find('?') == std::string::npos ? '?' : '&') + "xrdcl.intent=" + std::to_string(++number);
}

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

// ROOT's settings for files on the network: of this process, whatever the user's .rootrc says.
inline void PrepareNetwork()
{
   // Else a URL that names this very machine is taken for a local path.
   gEnv->SetValue("Path.ForceRemote", 1);
   // roots:// belongs to a class that ROOT no longer has.
   gPluginMgr->LoadHandlersFromPluginDirs("TFile");
   gPluginMgr->RemoveHandler("TFile", "^roots:");
   gPluginMgr->AddHandler("TFile", "^x?roots:", "TNetXNGFile", "NetxNG",
                          "TNetXNGFile(const char*,Option_t*,const char*,Int_t,Int_t,Bool_t)");
}

// The first and last bytes of a file, fetched at once. ROOT asks for the header, the keys and the
// tree one after the other, and waits for each; they lie there.
class Ends final : public TFileCacheRead {
   std::vector<char> fContent;
   Long64_t fHead, fTail; // end of the first part, start of the last

public:
   explicit Ends(TFile &file)
   {
      const Long64_t size = file.GetSize(), tail = std::clamp<Long64_t>(size / 200, 32 << 10, 1 << 20);
      fHead = std::min<Long64_t>(size, 512);
      fTail = std::max(fHead, size - tail);
      fContent.resize(fHead + size - fTail);
      Long64_t starts[] = {0, fTail};
      Int_t lengths[] = {Int_t(fHead), Int_t(size - fTail)};
      file.ReadBuffers(fContent.data(), starts, lengths, lengths[1] ? 2 : 1); // the trap hears of failure
      file.SetCacheRead(this); // which deletes it
   }
   Int_t ReadBuffer(char *buffer, Long64_t position, Int_t length) override
   {
      const bool last = position >= fTail;
      const Long64_t at = last ? position - fTail + fHead : position;
      if (at + length > (last ? Long64_t(fContent.size()) : fHead))
         return 0; // ROOT reads it directly
      std::copy_n(fContent.data() + at, length, buffer);
      return 1;
   }
};

// Opens what TFile does itself when it opens files in the background.
struct BackgroundFile : TFile {
   static constexpr EAsyncOpenStatus TFile::*kStatus = &BackgroundFile::fAsyncOpenStatus;
   static constexpr void (TFile::*kInit)(Bool_t) = &BackgroundFile::Init;
};

// A file that is being opened. Those on the network are opened in the background from the start.
class Opening {
   std::string fPath;
   std::unique_ptr<TFile> fFile;
   Clock::time_point fStart = Clock::now();

   TFile::EAsyncOpenStatus Status() const { return (*fFile).*BackgroundFile::kStatus; }

   // Wait until the storage has answered.
   void Wait()
   {
      // ROOT would wait for a signal, for ever if it came a moment ago.
      while (Status() == TFile::kAOSInProgress && Since(fStart) < 60)
         std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (Status() == TFile::kAOSSuccess)
         return;
      fFile.release(); // to close it would ask the storage again
      if (Since(fStart) > 10)
         throw FileProblem("storage", fPath, "its storage does not answer");
      fFile.reset(TFile::Open(Apart(fPath).c_str())); // ROOT does not tell why a file in the background fails
      if (!fFile || fFile->IsZombie())
         throw FileProblem("storage", fPath, "it cannot be opened");
   }

public:
   explicit Opening(const std::string &path) : fPath(path)
   {
      if (!IsRemote(path))
         return;
      ErrorTrap::Guard("opening", path);
      PrepareNetwork();
      auto *handler = gPluginMgr->FindHandler("TFile", path.c_str());
      if (!handler || std::strcmp(handler->GetClass(), "TNetXNGFile") != 0 || handler->LoadPlugin() != 0)
         throw FileProblem("scheme", path, "ROOT cannot read files at such an address");
      const std::string apart = Apart(fPath);
      const char *url = apart.c_str(), *mode = "READ", *title = "";
      const Int_t compression = 1, options = 0;
      const Bool_t background = kTRUE;
      const Longptr_t file = handler->ExecPlugin(6, url, mode, title, compression, options, background);
      fFile.reset(reinterpret_cast<TFile *>(file));
   }

   // The file. It must be whole, and of this size if that is known (-1).
   std::unique_ptr<TFile> Get(Long64_t bytes = -1)
   {
      ErrorTrap::Guard("opening", fPath);
      if (fFile)
         Wait();
      else // not TFile::Open, which asks the interpreter for a plug-in: 0.05 CPU s
         fFile.reset(new TFile(fPath.c_str()));
      const auto found = fFile->GetSize(); // before ROOT tries to repair what is cut short
      if (bytes >= 0 && found != bytes)
         throw FileProblem("stale", fPath, "it has " + std::to_string(found) + " bytes, the catalogue says " +
                                              std::to_string(bytes));
      if (Status() == TFile::kAOSSuccess && found > 0) {
         new Ends(*fFile);
         ((*fFile).*BackgroundFile::kInit)(false);
      }
      if (fFile->IsZombie() || found <= 0)
         throw FileProblem("unreadable", fPath, "it cannot be opened as a ROOT file");
      if (fFile->TestBit(TFile::kRecovered))
         throw FileProblem("truncated", fPath, "it is cut short, or was never closed");
      return std::move(fFile);
   }
};

} // namespace nanolake
#endif
